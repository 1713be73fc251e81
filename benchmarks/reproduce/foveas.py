"""How far the fovea that `analyze` finds lies from places that were put by eye, in disc diameters.

    python benchmarks/reproduce/foveas.py --out benchmarks/results/foveas.json
    python benchmarks/reproduce/foveas.py --sides 400      # whether the side of the disc on which it is found is that of the eye that ODIR states; adds to the file

`foveas.csv` holds the places in pixels of the photographs, put on crops with more contrast, without a mark of what the search says, by a person who is no clinician;
photographs in which no fovea was seen are not in it. `looked at` were seen while the search was written, `afterwards` only after nothing was changed any more. Disc and
vessels are those of the shipped segmenters, some of which saw some of these eyes; `stated` searches the side of the true place, `not stated` finds the side too.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fundusion.core.durable import write_json
from fundusion.core.registry import ImageInput, datasets
from fundusion.measuring import Measurer
from fundusion.readers import read_study
from fundusion.transforms.field_of_view import find_field_of_view
from fundusion.transforms.image import prepare
from fundusion.transforms.squares import FRAME_PX, cut_squares

ROOTS = {
    "hrf": "hrf", "idrid.segmentation": "idrid_seg", "drive": "drive", "stare": "stare", "odir": "odir", "idrid": "idrid_grading"
}  # fmt: skip
PLACES = Path(__file__).with_name("foveas.csv")


def main() -> None:
    """Find, compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FUNDUSION_DATA", "../shared/data")))
    parser.add_argument("--sides", type=int, metavar="N", help="Only compare sides, in N pictures of ODIR.")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/foveas.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.sides:
        result = json.loads(options.out.read_text("utf-8")) if options.out.is_file() else {}
        result["sides"] = sides(options.data, options.sides)
        print(result["sides"])
        write_json(options.out, result)
        return
    measurer = Measurer(names=("vessels", "disc_cup"))
    errors: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    with PLACES.open(encoding="utf-8") as file:
        places = {(r["set"], r["study_id"]): r for r in csv.DictReader(file)}
    for name, root in ROOTS.items():
        for record in datasets.create(name, root=options.data / root):
            place = places.pop((name, record.study_id), None)
            if place is None:
                continue
            image = read_study(record).images["cfp"][0]
            field = find_field_of_view(image.pixels)
            squares = cut_squares(image, field, measurer.sides, name="cfp.0")
            ready = prepare(
                image.pixels,
                ImageInput(size=FRAME_PX),
                field=field,
                reduction=image.reduction,
                full_shape=image.full_shape,
            )
            back = np.linalg.inv(np.vstack([ready.to_original, [0, 0, 1]]))
            col, row = (back @ [float(place["col"]), float(place["row"]), 1.0])[:2]
            blind = measurer.measure(squares).found
            # The fovea is temporal of the disc: left of it in a photograph of a right eye.
            eye = None if blind.disc is None else "OD" if col < blind.disc.center[1] else "OS"
            for way, found in (("not stated", blind), ("stated", measurer.measure(squares, laterality=eye).found)):
                away = np.nan
                if found.disc is not None and found.fovea is not None:
                    away = float(np.hypot(found.fovea[0] - row, found.fovea[1] - col) / found.disc.diameter_px)
                for key in (name, "all"):
                    errors[place["part"], way, key].append(away)
    if places:
        raise SystemExit(f"not found in the data: {sorted(places)[:5]}")
    result = {" / ".join(key): summary(values) for key, values in sorted(errors.items())}
    for key, numbers in result.items():
        print(key, numbers)
    write_json(options.out, result)


def sides(data: Path, count: int) -> dict[str, Any]:
    """Return how often the fovea, looked for without a stated eye, lies on the temporal side of the eye that ODIR states."""
    records = list(datasets.create("odir", root=data / "odir"))
    random.Random(77).shuffle(records)
    measurer = Measurer(names=("disc_cup",))
    found: dict[str, Any] = {"pictures": 0, "found": 0, "right side": 0, "other side": []}
    for record in records[:count]:
        image = read_study(record).images["cfp"][0]
        squares = cut_squares(image, find_field_of_view(image.pixels), measurer.sides, name="cfp.0")
        eye = measurer.measure(squares).found
        found["pictures"] += 1
        if eye.fovea is None or eye.disc is None:
            continue
        found["found"] += 1
        if record.laterality == ("OD" if eye.fovea[1] < eye.disc.center[1] else "OS"):
            found["right side"] += 1
        else:
            found["other side"].append(record.study_id)
    return found


def summary(values: list[float]) -> dict[str, float]:
    """Return the number of eyes, of those found, quartiles of the error in disc diameters, and how many lie within a quarter and half of one."""
    found = np.array([v for v in values if np.isfinite(v)])
    middle, upper, worst = np.quantile(found, [0.5, 0.9, 1.0]) if len(found) else (np.nan,) * 3
    return {
        "eyes": len(values), "found": len(found), "median": round(float(middle), 3), "90 %": round(float(upper), 3),
        "worst": round(float(worst), 2), "within 0.25": int((found < 0.25).sum()), "within 0.5": int((found < 0.5).sum()),
    }  # fmt: skip


if __name__ == "__main__":
    main()
