"""The 17 phenotypes of UK Biobank of DRIVE 17: the authors' numbers, ours from their segments, and ours from their artery-vein map.

    python benchmarks/reproduce/phenotypes.py --out benchmarks/results/phenotypes.json

The first two columns must agree. The third takes nothing but the map and the place of the disc: centre lines, widths and branchings are our own, so that what differs is
how vessels are traced. The photograph itself is not among the public parts of the example here.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fundusion.biomarkers import idp
from fundusion.biomarkers.vessel_graph import vessel_graph
from fundusion.core.durable import write_json


def main() -> None:
    """Compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golden", type=Path, default=Path(os.environ.get("FUNDUSION_GOLDEN", "../shared/golden")))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/phenotypes.json"))
    options = parser.parse_args()
    table = compared(options.golden / "idp")
    for name, row in table.items():
        print(f"{name:26s}" + "".join(f"  {title} {value}" for title, value in row.items()))
    write_json(options.out, table)


def compared(folder: Path) -> dict[str, dict[str, float | None]]:
    """Return phenotype to the authors' number (None where they publish none), ours from their segments and from their map."""
    numbers = json.loads((folder / "drive17_example.json").read_text("utf-8"))
    colors = np.asarray(Image.open(folder / "17_test.png").convert("RGB"))
    maps = colors[..., 0] > 127, colors[..., 2] > 127
    od = numbers["od"]
    disc = od["x"], od["y"], (od["width"] + od["height"]) / 4
    theirs = idp.phenotypes(official_segments(folder), maps, disc)
    own = idp.phenotypes(idp.segments_of(vessel_graph(maps[0]), vessel_graph(maps[1])), maps, disc)
    stated = published(numbers)
    return {
        name: {"authors": _short(stated.get(name)), "from their segments": _short(theirs[name].value),
               "from their map": _short(own[name].value)}
        for name in idp.PHENOTYPES
    }  # fmt: skip


def official_segments(folder: Path) -> idp.Segments:
    """Return the segments that the authors' program traced in the photograph."""
    rows = {
        name: [
            np.array([float(v) for v in line.split("\t") if v.strip()])
            for line in (folder / f"17_test_all_{name}.tsv").read_text("utf-8").splitlines()
        ]
        for name in ("center1Coordinates", "center2Coordinates", "rawDiameters")
    }
    lines = (folder / "17_test_all_segmentStats.tsv").read_text("utf-8").splitlines()[1:]
    stats = np.array([[float(v) for v in line.split("\t")] for line in lines])
    return idp.Segments(
        x=rows["center2Coordinates"], y=rows["center1Coordinates"], diameters=rows["rawDiameters"],
        kinds=np.sign(stats[:, 3]).astype(np.int64), medians=stats[:, 0],
    )  # fmt: skip


def published(numbers: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of the example by the names of the paper."""
    found = numbers["ukbb_params"]
    arteries, veins = found["CRAE"]["eq_CRE"], found["CRVE"]["eq_CRE"]
    density = found["vascular_density"]
    return {
        "mean_angle_taa": found["taa"]["mean_angle"], "mean_angle_tva": found["tva"]["mean_angle"],
        "eq_CRAE": arteries, "eq_CRVE": veins, "ratio_CRAE_CRVE": arteries / veins,
        "D_A_std": found["diameter_variability"]["D_A_std"], "D_V_std": found["diameter_variability"]["D_V_std"],
        "bifurcations": found["bifurcations"]["bifurcations"],
        "VD_orig_artery": density["VD_orig_artery"], "VD_orig_vein": density["VD_orig_vein"],
        "ratio_VD": density["VD_orig_artery"] / density["VD_orig_vein"],
        "medianDiameter_artery": numbers["median_artery"]["medianDiameter"],
        "medianDiameter_vein": numbers["median_vein"]["medianDiameter"],
        "ratio_AV_medianDiameter": numbers["ratio_AV_medianDiameter"],
    }  # fmt: skip


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


if __name__ == "__main__":
    main()
