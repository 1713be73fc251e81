"""MM-Retinal: identifiers without a type, captions in two languages."""


def test_the_type_is_found(read):
    records, _ = read("mm_retinal")
    assert records["cfp_1"].images["cfp"][0].endswith("1.jpg")
    assert records["cfp_2"].images["cfp"][0].endswith("2.png")
    assert records["ffa_1"].report == "A FFA of macula"
    assert set(records["oct_1"].images) == {"oct"}


def test_the_other_language(read):
    records, _ = read("mm_retinal", language="zh")
    assert records["cfp_1"].report == "黄斑"
