"""Every way to float32 matrix products that torch offers on a processor: error, speed, and time of a vision transformer.

    python benchmarks/bench_matmul.py            # writes benchmarks/results/matmul.json, prints the table of docs/concepts/speed.md

Each setting runs in a process of its own, on one core, in processor time. The error is that of the self-check in
`fundusion.layers.precision`. The limit is a loop of fused multiply-adds in registers; it needs a C compiler and is left out without one.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "matmul.json"
#: Name, setting of torch, instruction set oneDNN may use (None: all).
WAYS: tuple[tuple[str, str, str | None], ...] = (
    ("default", "none", None),
    ("ieee", "ieee", None),
    ("tf32", "tf32", None),
    ("bf16", "bf16", None),
    ("bf16, oneDNN up to AVX512_CORE", "bf16", "AVX512_CORE"),
    ("bf16, oneDNN up to AVX512_CORE_BF16", "bf16", "AVX512_CORE_BF16"),
    ("bf16, oneDNN up to AVX512_CORE_FP16", "bf16", "AVX512_CORE_FP16"),
    ("bf16, oneDNN up to AVX2", "bf16", "AVX2"),
    ("split in two bfloat16 parts, three products", "split", None),
)
_LIMIT = """
#include <immintrin.h>
#include <stdio.h>
#include <time.h>
int main(void) {
  __m512 a[12], x = _mm512_set1_ps(1.0000001f), y = _mm512_set1_ps(1e-9f);
  for (int i = 0; i < 12; i++) a[i] = _mm512_set1_ps(i);
  clock_t start = clock();
  for (long n = 0; n < 100000000L; n++)
    _Pragma("GCC unroll 12") for (int i = 0; i < 12; i++) a[i] = _mm512_fmadd_ps(a[i], x, y);
  double s = (double)(clock() - start) / CLOCKS_PER_SEC;
  float sum = 0;
  for (int i = 0; i < 12; i++) sum += _mm512_reduce_add_ps(a[i]);
  printf("%.1f %g", 1e8 * 12 * 32 / s / 1e9, sum);
}
"""


def limit_gflops() -> float | None:
    """Return what one core can do at most in float32, 1e9 operations a second; None without a compiler or AVX-512."""
    compiler = shutil.which("gcc")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder) / "limit.c", Path(folder) / "limit"
        source.write_text(_LIMIT, "utf-8")
        try:
            subprocess.run([compiler, "-O3", "-mavx512f", source, "-o", program], check=True, capture_output=True)
            return float(subprocess.run([program], check=True, capture_output=True, text=True).stdout.split()[0])
        except subprocess.CalledProcessError:
            return None


def best_s(call: Callable[[], Any], rounds: int = 5) -> float:
    """Return the least processor time of a call, s."""
    call()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def split_linear(x: Any, parts: tuple[Any, Any], bias: Any = None) -> Any:
    """Return a linear map from three products of bfloat16 parts: high by high, low by high, high by low."""
    import torch

    high = x.bfloat16()
    low = (x - high).bfloat16()
    # Rounded before, so that it does not matter whether the library rounds.
    out = torch.nn.functional.linear(high.float(), parts[0], bias)
    return out.add_(torch.nn.functional.linear(torch.cat([high, low], -1), parts[1]))


def measure(setting: str) -> dict[str, Any]:
    """Return error and speed of this process' setting."""
    import torch
    from torch.nn import functional as F

    from fundusion.core.registry import models

    torch.set_num_threads(1)
    if setting != "none":
        torch.backends.mkldnn.matmul.fp32_precision = "bf16" if setting == "split" else setting

    def parts_of(weight: Any) -> tuple[Any, Any]:
        high = weight.bfloat16()
        return high.float(), torch.cat([(weight - high).bfloat16(), high], 1)

    generator, error = torch.Generator().manual_seed(0), 0.0
    for rows, inner, columns in ((197, 384, 1536), (1, 768, 768), (64, 64, 64)):
        a = torch.randn(rows, inner, generator=generator) * torch.logspace(-2, 2, inner)
        w = torch.randn(inner, columns, generator=generator).T.contiguous()
        exact = a.double() @ w.double().T
        found = split_linear(a, parts_of(w)) if setting == "split" else F.linear(a, w)
        error = max(error, float((found - exact).abs().max() / exact.abs().max()))
    x, layer = torch.randn(197, 768), torch.nn.Linear(768, 3072)
    parts = parts_of(layer.weight.detach())
    one = (lambda: split_linear(x, parts, layer.bias)) if setting == "split" else (lambda: layer(x))
    with torch.inference_mode():
        seconds = best_s(lambda: [one() for _ in range(20)]) / 20
    found = {"error": error, "linear_gflops": round(2 * 197 * 768 * 3072 / seconds / 1e9, 1)}
    if setting == "split":
        return found
    for name in ("vit.small_16", "vit.base_16", "swin.tiny"):
        torch.manual_seed(0)
        model, images = models.create(name).eval(), torch.rand(1, 3, 224, 224)
        with torch.inference_mode():
            found[f"{name}_ms"] = round(best_s(lambda m=model, i=images: m.encode(i)) * 1e3, 1)
    return found


def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def main() -> None:
    """Measure every way, print the table, write the file."""
    if len(sys.argv) == 2:
        sys.stdout.write(json.dumps(measure(sys.argv[1])))
        return
    import torch

    from fundusion.core.durable import write_json
    from fundusion.layers.precision import TOLERANCE

    rows = []
    for words, setting, instructions in WAYS:
        settings = {**os.environ, "OMP_NUM_THREADS": "1"}
        settings |= {"ONEDNN_MAX_CPU_ISA": instructions} if instructions else {}
        made = subprocess.run([sys.executable, __file__, setting], env=settings, capture_output=True, text=True)
        if made.returncode:
            raise SystemExit(made.stderr)
        rows.append({"way": words, **json.loads(made.stdout)})
    limit = limit_gflops()
    lines = [
        "| way | error | exact | linear layer, GFLOP/s | ViT-S ms | ViT-B ms | Swin-T ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        times = [str(row.get(f"{n}_ms", "")) for n in ("vit.small_16", "vit.base_16", "swin.tiny")]
        exact = "yes" if row["error"] <= TOLERANCE else "no"
        lines.append(f"| {row['way']} | {row['error']:.1e} | {exact} | {row['linear_gflops']} | {' | '.join(times)} |")
    sys.stdout.write("\n".join(lines) + f"\nlimit of one core: {limit} GFLOP/s\n")
    write_json(
        RESULTS,
        {"machine": processor(), "date": date.today().isoformat(), "torch": torch.__version__, "threads": 1,
         "limit_gflops": limit, "tolerance": TOLERANCE, "ways": rows},
    )  # fmt: skip


if __name__ == "__main__":
    main()
