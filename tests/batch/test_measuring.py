"""Folders of masks: each item ends ok or rejected with a reason; a run that stopped goes on; tables hold no NaN."""

import csv
import json
from dataclasses import replace

import numpy as np
import polars
import pytest
from PIL import Image

from fundusion.batch.measuring import Reading, find_items, measure_all, measure_item
from fundusion.batch.unproven import write_warnings
from fundusion.core.errors import FundusionError, InvalidInput
from fundusion.datasets.synthetic import draw_photograph


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array).astype(np.uint8)).save(path)


def tree(shift=0):
    rows, cols = np.mgrid[:200, :200]
    artery = (np.abs(rows - cols - shift) < 4) & (np.abs(cols - 100) < 90)
    vein = (np.abs(rows + cols - 199 + shift) < 5) & (np.abs(cols - 100) < 80)
    return artery, vein


def colors(shift=0):
    artery, vein = tree(shift)
    return np.stack([artery * 255, np.zeros((200, 200)), vein * 255], -1)


@pytest.fixture
def masks(tmp_path):
    """Two good eyes, and one of each kind of bad one."""
    folder = tmp_path / "masks"
    save(folder / "a.png", colors())
    save(folder / "sub" / "b.png", (tree(3)[0] | tree(3)[1]) * 255)
    save(folder / "empty.png", np.zeros((200, 200)))
    save(folder / "full.png", np.full((200, 200), 255))
    save(folder / "numbers.png", np.tile([0, 1, 2, 3], (50, 50)))
    save(folder / "yellow.png", np.tile([255, 255, 0], (50, 50, 1)))
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nxx")
    (folder / "notes.txt").write_text("no mask")
    return folder


def rows_of(out):
    return {r["name"]: r for r in map(json.loads, (out / "measurements.jsonl").read_text().splitlines())}


def test_each_item_ends_ok_or_rejected(masks, tmp_path):
    out = tmp_path / "out"
    done = measure_all(find_items([masks]), out, pictures=True)
    assert done.counts == {"total": 7, "ok": 2, "rejected": 5, "pending": 0}
    assert done.exit_code == 3
    rows = rows_of(out)
    codes = {n: r["code"] for n, r in rows.items()}
    assert codes["empty"] == "mask.empty"
    assert codes["full"] == "mask.full"
    assert codes["numbers"] == "mask.labels"
    assert codes["yellow"] == "mask.colors"
    assert codes["broken"].startswith("image.")
    assert codes["a"] == codes["sub/b"] == "ok"
    pictures = {p.name for p in (out / "pictures").iterdir()}
    assert {p.rpartition(".")[0] for p in pictures} == {"a", "sub_b-bd60e19f4a"}
    assert {p.rpartition(".")[2] for p in pictures} == {"png", "svg"}
    assert len(pictures) == 4
    values = {m["name"]: m for m in rows["a"]["measurements"]}
    assert values["tortuosity_artery"]["value"] == pytest.approx(1, abs=0.01)
    assert values["width_artery"]["failure"] == "scale.absent"


def test_tables_in_three_forms(masks, tmp_path):
    found = {}
    for form in ("csv", "parquet", "json"):
        out = tmp_path / form
        measure_all(find_items([masks]), out, table=form, reading=Reading(spacing_um=10.0))
        found[form] = out
    with open(found["csv"] / "measurements.csv", newline="") as stream:
        long = list(csv.DictReader(stream))
    assert {r["status"] for r in long} == {"ok", "rejected"}
    assert all(bool(r["value"]) != bool(r["failure"]) for r in long if r["status"] == "ok")
    assert all(r["reason"] for r in long if r["failure"] or r["status"] == "rejected")
    assert all(r["flags"] == "" or "." in r["flags"] for r in long)
    assert "nan" not in (found["csv"] / "measurements.csv").read_text().lower().replace("nan)", "")
    frame = polars.read_parquet(found["parquet"] / "eyes.parquet")
    assert frame.height == 7
    assert frame.filter(polars.col("name") == "a")["width_artery (um)"].item() == pytest.approx(70 / 2**0.5, abs=4)
    assert frame["width_artery (um)"].dtype == polars.Float64
    listed = json.loads((found["json"] / "eyes.json").read_text())
    assert [r["name"] for r in listed] == sorted(r["name"] for r in listed)
    with pytest.raises(InvalidInput, match="table"):
        measure_all(find_items([masks]), tmp_path / "x", table="xlsx")


def test_an_interrupted_run_goes_on_and_equals_a_clean_one(masks, tmp_path, monkeypatch):
    import fundusion.batch.measuring as measuring

    items = find_items([masks])
    clean = tmp_path / "clean"
    measure_all(items, clean)
    monkeypatch.setattr(measuring, "_CHUNK", 2)
    real, seen = measuring.measure_item, []

    def stops(item, reading):
        seen.append(item.name)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return real(item, reading)

    monkeypatch.setattr(measuring, "measure_item", stops)
    with pytest.raises(KeyboardInterrupt):
        measure_all(items, tmp_path / "out")
    again: list[str] = []
    monkeypatch.setattr(measuring, "measure_item", lambda i, r: again.append(i.name) or real(i, r))
    measure_all(items, tmp_path / "out")
    assert not {*seen[:2]} & {*again}
    assert (tmp_path / "out" / "measurements.csv").read_bytes() == (clean / "measurements.csv").read_bytes()
    with pytest.raises(InvalidInput) as error:
        measure_all(items, tmp_path / "out", reading=Reading(spacing_um=3.0))
    assert error.value.code == "run.other_config"


def test_what_lies_beside_is_found_by_name_and_checked_for_size(masks, tmp_path):
    rows, cols = np.mgrid[:200, :200]
    disc = (rows - 100) ** 2 + (cols - 100) ** 2 < 15**2
    save(tmp_path / "discs" / "a_disc.png", disc * 255)
    save(tmp_path / "discs" / "sub" / "b.gif", disc)
    items = {i.name: i for i in find_items([masks], companions={"disc": tmp_path / "discs"})}
    assert items["a"].companions["disc"].name == "a_disc.png"
    assert "disc" not in items["full"].companions
    found = measure_item(items["a"], Reading()).found
    assert found.disc.diameter_px == pytest.approx(30, abs=1)
    assert measure_item(items["sub/b"], Reading()).found.disc is not None
    save(tmp_path / "discs" / "a_disc.png", disc[:50] * 255)
    with pytest.raises(InvalidInput, match="200 x 50 px"):
        measure_item(items["a"], Reading())
    save(tmp_path / "others" / "zzz.png", disc)
    with pytest.raises(InvalidInput) as error:
        find_items([masks], companions={"cup": tmp_path / "others"})
    assert error.value.code == "input.unmatched"


def test_facts_of_each_eye(masks, tmp_path):
    table = tmp_path / "facts.csv"
    table.write_text(
        "name,laterality,spacing_um,gradable,disc_row,disc_col,disc_diameter_px,fovea_row,fovea_col\n"
        "a.png,OD,8.0,,100,130,30,105,40\nsub/b,,,no,,,,,\nfull,XX,,,,,,,\n"
    )
    items = {i.name: i for i in find_items([masks], facts=table)}
    one = measure_item(items["a"], Reading(spacing_um=3.0)).found
    assert one.scale.um_per_px == 8.0
    assert one.by_name()["disc_fovea_distance"].value == pytest.approx(8 * np.hypot(5, 90), rel=0.01)
    two = measure_item(items["sub/b"], Reading()).found
    assert two.by_name()["tortuosity_vessels"].failure == "quality.ungradable"
    with pytest.raises(InvalidInput, match="laterality"):
        measure_item(items["full"], Reading())
    for text, code in (
        ("id\na\n", "facts.columns"),
        ("name\nq\n", "facts.name"),
        ("name\na\na.png\n", "facts.name"),
        ("name,mood\na,good\n", "facts.columns"),
    ):
        table.write_text(text)
        with pytest.raises(InvalidInput) as error:
            find_items([masks], facts=table)
        assert error.value.code == code
    table.write_text("name,spacing_um\na,wide\n")
    with pytest.raises(InvalidInput, match="wide"):
        measure_item({i.name: i for i in find_items([masks], facts=table)}["a"], Reading())


def test_an_ungradable_photograph_gives_no_numbers(masks, tmp_path):
    save(tmp_path / "images" / "a.png", np.zeros((200, 200, 3)))
    items = {i.name: i for i in find_items([masks], companions={"image": tmp_path / "images"})}
    found = measure_item(items["a"], Reading()).found.by_name()
    assert found["tortuosity_artery"].failure == "quality.ungradable"


def test_probabilities_and_class_numbers(tmp_path):
    artery, _ = tree()
    save(tmp_path / "p.png", np.where(artery, 200, 20))
    (item,) = find_items([tmp_path / "p.png"])
    plain, open_ = (measure_item(item, Reading(probability=p)).found.by_name() for p in (False, True))
    assert plain["density_vessels"].uncertainty is None
    assert open_["density_vessels"].uncertainty == 0
    save(tmp_path / "n.png", np.where(artery, 2, 0))
    found = measure_item(find_items([tmp_path / "n.png"])[0], Reading(labels={"vein": 2, "artery": 1})).found.by_name()
    assert found["tortuosity_vein"].value == pytest.approx(1, abs=0.01)
    assert found["tortuosity_artery"].failure == "mask.empty"


def test_nothing_to_measure(tmp_path):
    for path, code in ((tmp_path, "input.empty"), (tmp_path / "none", "input.missing")):
        with pytest.raises(InvalidInput) as error:
            find_items([path])
        assert error.value.code == code
    save(tmp_path / "m" / "a.png", np.zeros((40, 40)))
    save(tmp_path / "m" / "a.gif", np.zeros((40, 40)))
    with pytest.raises(InvalidInput) as error:
        find_items([tmp_path / "m"])
    assert error.value.code == "input.ambiguous"


def test_numbers_of_unproven_masks_carry_the_remark(tmp_path):
    folders = {}
    for name in ("vessel", "EX", "disc"):
        folders[name] = tmp_path / name
        folders[name].mkdir()
        mask = np.zeros((200, 200), np.uint8)
        if name == "vessel":
            mask[98:103, 10:190] = 255
        else:
            mask[60:90, 60:90] = 255
        Image.fromarray(mask).save(folders[name] / "a.png")
    companions = {"disc": folders["disc"], "EX": folders["EX"]}
    before = tmp_path / "before"
    measure_all(find_items([folders["vessel"]], companions=companions), before)
    assert "unproven" not in json.loads((before / "measurements.jsonl").read_text())
    write_warnings(tmp_path, {"EX": "Marked in healthy eyes."}, ["EX"])
    # The file is no mask.
    items = find_items([folders["vessel"]], companions=companions)
    assert set(items[0].companions) == {"disc", "EX"}
    measure_all(items, tmp_path / "out")
    row = json.loads((tmp_path / "out" / "measurements.jsonl").read_text())
    assert row["unproven"] == {"EX": "Marked in healthy eyes."}
    for m in row["measurements"]:
        wrong = m["name"] in ("EX_count", "EX_area") and m["value"] is not None
        assert ("mask.unproven" in m["flags"]) == wrong, m
    # What is said now is another run than the one where nothing was said.
    with pytest.raises(FundusionError):
        measure_all(items, before)


def test_the_fovea_comes_from_the_photograph_where_the_table_states_none(tmp_path):
    pixels, truth = draw_photograph(np.random.default_rng(6), size=400, laterality="OD")
    shape = pixels.shape[:2]
    for folder, picture in (
        ("vessels", (truth.vessel_mask > 0) * 255), ("discs", truth.disc.mask(shape) * 255), ("images", pixels)
    ):  # fmt: skip
        save(tmp_path / folder / "a.png", np.asarray(picture, np.uint8))
    beside = {"disc": tmp_path / "discs"}
    plain = measure_item(find_items([tmp_path / "vessels"], companions=beside)[0], Reading(laterality="OD")).found
    assert plain.by_name()["disc_fovea_distance"].failure == "fovea.absent"
    item = find_items([tmp_path / "vessels"], companions={**beside, "image": tmp_path / "images"})[0]
    distance = measure_item(item, Reading(laterality="OD", spacing_um=10.0)).found.by_name()["disc_fovea_distance"]
    drawn = 10.0 * np.hypot(*np.subtract(truth.fovea.center, truth.disc.center))
    assert distance.value == pytest.approx(drawn, rel=0.1)
    assert distance.flags == ("fovea.found",)
    stated = replace(item, facts={"fovea_row": "200", "fovea_col": "150", "gradable": "yes"})
    assert measure_item(stated, Reading(laterality="OD")).found.fovea == (200.0, 150.0)
