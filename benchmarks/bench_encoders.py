"""Time and memory of every image encoder and segmenter for one image, and what bfloat16 and oneDNN gain, in one run.

    python benchmarks/bench_encoders.py                      # every one; writes src/fundusion/models/measured.json
    python benchmarks/bench_encoders.py --only vit,resnet    # adds to the file
    python benchmarks/bench_encoders.py --ratios             # only the training step and the matmul route
    python benchmarks/bench_encoders.py --ratios --only resnet.50 --rounds 9

Milliseconds are processor time on one core, the best of several rounds, so that a busy machine changes them little. Each model runs in
a process of its own; memory is what that process needed beyond the libraries. Weights are constants: they change no time. Segmenters that
want a prompt are given one box.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import timm  # noqa: F401  (part of what every process needs, so not of what a model needs)
import torch

from fundusion.core.cards import MEASURED
from fundusion.core.durable import write_json
from fundusion.core.interfaces import Prompts
from fundusion.core.registry import models
from fundusion.layers.memory_format import prefer_channels_last
from fundusion.layers.precision import check_fast_matmul, fast_matmul

RESULTS = Path(__file__).parent / "results" / "encoders.json"
RATIOS = ("vit.small_16", "vit.base_16", "swin.tiny", "resnet.50", "senet.resnet_50", "cabnet.densenet_121")


def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def build(name: str) -> torch.nn.Module:
    """Return a model whose tensors hold harmless constants; drawing random ones takes longer than everything else."""
    try:
        with torch.device("meta"):
            model = models.create(name)
    except NotImplementedError:
        # A builder that reads values of its own tensors needs real ones.
        return models.create(name).eval()
    model = model.to_empty(device="cpu").eval()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.fill_(0.01) if tensor.is_floating_point() else tensor.zero_()
        for buffer_name, buffer in model.named_buffers():
            if buffer_name.endswith(("running_var", "std")):
                buffer.fill_(1.0)
            elif not buffer.is_floating_point():
                # Numbers of places, some of which are not part of the state.
                buffer.zero_()
    return model


def answer_of(model: Any, name: str) -> Callable[[torch.Tensor], Any]:
    """Return what a model does with an image: features, or masks."""
    if "encode" in models.card(name).roles:
        return model.encode
    if name.startswith("unet."):
        return model.segment
    side = models.card(name).input.size
    box = torch.tensor([[side / 4, side / 4, side * 3 / 4, side * 3 / 4]])
    return lambda images: model.segment(images, Prompts(boxes=box))


def best_ms(call: Callable[[], Any], rounds: int) -> float:
    """Return the least processor time of a call, ms."""
    call()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times) * 1e3


def peak_mib() -> float:
    """Return the most memory this process ever held, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(name: str, queue: Any) -> None:
    """Measure one model and put the numbers into the queue; runs in a process of its own."""
    try:
        torch.set_num_threads(1)
        before = peak_mib()
        model = build(name)
        wanted = models.card(name).input
        images = torch.full((1, 3, wanted.size, wanted.size), 0.3)
        rounds = 2 if sum(p.numel() for p in model.parameters()) > 2e8 else 4

        answer = answer_of(model, name)

        def plain() -> None:
            with torch.inference_mode():
                answer(images)

        def low() -> None:
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                answer(images)

        ms = best_ms(plain, rounds)
        memory = peak_mib() - before
        queue.put(
            {
                "parameters_m": round(sum(p.numel() for p in model.parameters()) / 1e6, 2),
                "size": wanted.size,
                "ms": round(ms, 1),
                "ms_bf16": round(best_ms(low, rounds), 1),
                "memory_mib": round(memory),
            }
        )
    except Exception as error:
        queue.put({"failed": f"{type(error).__name__}: {error}"})


def in_own_process(name: str, *, limit_s: float = 300.0) -> dict[str, Any]:
    """Return the numbers of a model, or why there are none."""
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=measure, args=(name, queue))
    process.start()
    process.join(limit_s)
    if process.is_alive():
        process.kill()
        return {"failed": f"longer than {limit_s:.0f} s"}
    return {"failed": f"ended with {process.exitcode}"} if queue.empty() else queue.get()


def ratios(names: list[str], rounds: int) -> dict[str, Any]:
    """Return what bfloat16 gains in a training step, and what oneDNN gains in float32, as ratios of processor time."""
    check = check_fast_matmul()
    out: dict[str, Any] = {
        "matmul_check": {"is_exact": check.is_exact, "error": check.error, "default_error": check.default_error}
    }
    for name in names or RATIOS:
        out[name] = found = ratios_of(name, rounds)
        say(f"{name}: step {found['step_fp32_ms']:.0f} ms, channels last {found['step_fp32_channels_last_ms']:.0f} ms, in bfloat16 "
            f"{found['step_bf16_ms']:.0f} and {found['step_bf16_channels_last_ms']:.0f} ms: {found['step_gain']:.2f} x; oneDNN "
            + (f"{found['onednn_gain']:.2f} x" if found["onednn_gain"] else f"not used: error {check.error:.1e}"))  # fmt: skip
    return out


def ratios_of(name: str, rounds: int) -> dict[str, Any]:
    """Return the times of a training step in both layouts and precisions, and of the forward pass in float32."""
    torch.manual_seed(0)
    model = models.create(name).train()
    images = torch.rand(8, 3, 224, 224)
    found: dict[str, Any] = {}
    for layout in ("", "_channels_last"):
        if layout:
            prefer_channels_last(model)
        optimizer = torch.optim.AdamW(model.parameters(), 1e-4, foreach=True)

        def step(low: bool, optimizer: Any = optimizer) -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                loss = model.encode(images).pooled.float().square().mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

        for low, words in ((False, "fp32"), (True, "bf16")):
            found[f"step_{words}{layout}_ms"] = round(best_ms(lambda s=step, b=low: s(b), rounds), 1)
    # The fair comparison: the better layout of each precision.
    best = {p: min(found[f"step_{p}_ms"], found[f"step_{p}_channels_last_ms"]) for p in ("fp32", "bf16")}
    found["step_gain"] = round(best["fp32"] / best["bf16"], 2)

    def forward() -> None:
        with torch.inference_mode():
            model.encode(images[:1])

    model.eval()
    plain = best_ms(forward, 3)
    with fast_matmul() as used:
        routed = best_ms(forward, 3) if used else None
    found |= {
        "forward_fp32_ms": round(plain, 1),
        "forward_onednn_ms": round(routed, 1) if routed else None,
        "onednn_gain": round(plain / routed, 2) if routed else None,
    }
    return found


def say(text: str) -> None:
    """Write a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Measure, print a table, write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="families or names, comma-separated")
    parser.add_argument("--ratios", action="store_true", help="only bfloat16 and oneDNN; with --only, full names")
    parser.add_argument("--rounds", type=int, default=3, help="of a training step; more on a busy machine")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    machine = {"machine": processor(), "date": date.today().isoformat(), "torch": torch.__version__, "threads": 1}
    if not chosen.ratios:
        wanted = [w for w in chosen.only.split(",") if w]
        names = [n for n in models.names() if {"encode", "segment"} & models.card(n).roles and not n.endswith(".test")]
        names = [n for n in names if not wanted or n in wanted or n.split(".")[0] in wanted]
        known = json.loads(MEASURED.read_text("utf-8"))["models"] if MEASURED.is_file() and wanted else {}
        for i, name in enumerate(names):
            found = in_own_process(name)
            say(f"[{i + 1}/{len(names)}] {name}: {found}")
            if "failed" not in found:
                known[name] = found
        write_json(MEASURED, {**machine, "models": dict(sorted(known.items()))})
    if chosen.ratios or not chosen.only:
        names = [n for n in chosen.only.split(",") if n]
        known = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() and names else {}
        write_json(RESULTS, {**known, **machine, **ratios(names, chosen.rounds)})


if __name__ == "__main__":
    main()
