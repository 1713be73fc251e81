"""MMAC: three tasks with folders of their own."""


def test_each_task_gives_its_own_records(read):
    records, _ = read("mmac")
    graded = records["grade_train_mmac_task_1_training_0001"]
    assert (graded.labels, graded.metadata["age"]) == ({"myopic_maculopathy": 3.0}, 51.0)
    assert set(records["lacquer_cracks_train_mmac_task_2_train_LC_0001"].masks) == {"lacquer_cracks"}
    assert records["refraction_train_mmac_task_3_train_0001"].labels == {"spherical_equivalent": -8.25}


def test_one_task_alone(fake_of):
    import shutil

    from fundusion.datasets.mmac import mmac

    base = fake_of("mmac").base
    for folder in sorted(base.iterdir())[1:]:
        shutil.rmtree(folder)
    assert [r.split for r in mmac(base)] == ["train", "val"]
