"""Each generator family, smallest variant, in a process of its own: build, three steps, generate, save, load, generate the same.

    python benchmarks/bench_generators.py --out benchmarks/results/generators.json

CPU seconds of the process, imports of libraries apart from the rest, wall seconds, and peak memory. The bar is 10 s and 1.5 GB in all.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FAMILIES = ("blip", "blip2", "instructblip", "llava", "qwen2_5_vl", "deepdr_llm", "eyefm_copilot")
SECONDS, MEGABYTES = 10.0, 1500


def main() -> None:
    """Measure and print; ends with 1 where a family is over the bar or answers otherwise after loading."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=FAMILIES, help="Measure one in this process and print it as JSON.")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.family:
        print(json.dumps(measure(arguments.family)))
        return
    rows: dict[str, Any] = {}
    for family in FAMILIES:
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, __file__, "--family", family], capture_output=True, text=True, check=True
        )
        rows[family] = {**json.loads(done.stdout.splitlines()[-1]), "wall_s": round(time.perf_counter() - began, 2)}
        row = rows[family]
        print(
            f"{family:14s} CPU {row['cpu_s']:5.2f} s (imports {row['imports_cpu_s']:.2f}), wall {row['wall_s']:5.2f} s, "
            f"peak {row['peak_mb']} MB, the same after loading: {row['same']}",
            flush=True,
        )
    if arguments.out:
        from fundusion.core.durable import write_json

        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(arguments.out, {"date": datetime.now(UTC).isoformat(timespec="seconds"), "families": rows})
    if not all(r["same"] and r["cpu_s"] < SECONDS and r["peak_mb"] < MEGABYTES for r in rows.values()):
        raise SystemExit(1)


def measure(family: str) -> dict[str, Any]:
    """Return what one family costs in this process since it began."""
    import torch

    torch.set_num_threads(1)
    from fundusion.core.registry import models, objectives

    with torch.random.fork_rng():
        # The first of a family loads what its library needs; building again costs its own work only.
        models.create(f"{family}.test")
    imported = time.process_time()
    torch.manual_seed(0)
    model = models.create(f"{family}.test").eval()
    same, losses = tried(model, family, objectives.create("instruction.answers"))
    return {
        "cpu_s": round(time.process_time(), 2), "imports_cpu_s": round(imported, 2), "peak_mb": peak_mb(),
        "same": same and losses[2] < losses[0],
    }  # fmt: skip


def tried(model: Any, family: str, objective: Any) -> tuple[bool, list[float]]:
    """Train three steps, save and load; return whether the answers are the same, and the losses."""
    import torch

    from fundusion.core.interfaces import Turn
    from fundusion.core.registry import models

    pictures = torch.randn(2, 3, 64, 64)
    shown = {"deepdr_llm": None, "eyefm_copilot": {"cfp": pictures}}.get(family, pictures)
    chats = [
        [Turn(role="user", text="what is seen?"), Turn(role="assistant", text="drusen")],
        [Turn(role="user", text="eye"), Turn(role="assistant", text="normal eye")],
    ]
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = objective(model, shown, chats).total
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    asked = [c[:1] for c in chats]
    said = model.generate(shown, asked, max_tokens=6)
    with tempfile.TemporaryDirectory() as folder:
        model.save(folder)
        again = models.create(f"{family}.test", weights=folder)
        return again.generate(shown, asked, max_tokens=6) == said, losses


def peak_mb() -> int:
    """Return the greatest resident memory of this process so far, MB."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Bytes on macOS, kibibytes elsewhere.
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3 / 1.024))


if __name__ == "__main__":
    main()
