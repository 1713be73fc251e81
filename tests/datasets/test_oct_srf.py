"""B-scans with and without fluid."""


def test_fluid_is_a_flag(read):
    records, _ = read("oct_srf")
    assert {n: r.labels["subretinal_fluid"] for n, r in records.items()} == {"input_0_1": 0.0, "input_1492_1": 1.0}


def test_real(real):
    reading = real("oct_srf", "oct_srf")
    assert reading.counts()["label subretinal_fluid"] == {"0": 10, "1": 10}
