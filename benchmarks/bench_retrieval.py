"""Search in a million vectors: recall, queries per processor second, memory and building, beside numpy and FAISS in the same run.

    python benchmarks/bench_retrieval.py --out benchmarks/results/retrieval.json
    python benchmarks/bench_retrieval.py --rows 100000 --approximate ivf,hnsw

The set is hard on purpose: 2000 clusters, in each a spread over 64 directions three times as long as the centre, and noise as long as it; the
ten neighbours of a query are near ties inside one cluster. Queries are vectors of the set, moved a little. Seconds are processor time of
one thread; the best of several rounds is taken, so that a busy machine changes them little.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fundusion.core.durable import write_json
from fundusion.core.errors import InvalidInput
from fundusion.retrieval.approximate import build_approximate, load_approximate
from fundusion.retrieval.changes import add, create_index
from fundusion.retrieval.index import Item
from fundusion.retrieval.scan import ReducedScan, scan_float32
from fundusion.retrieval.vectors import VectorFile

K = 10
CLUSTERS, RANK, SPREAD, NOISE = 2000, 64, 3.0, 1.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=256)
    parser.add_argument("--approximate", default="", help="ivf,hnsw: measured too; minutes for a million rows")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.f32"
        draw(path, args.rows, args.dim)
        vectors = VectorFile(path, dim=args.dim)
        queries = moved(vectors, args.queries)
        truth, _ = scan_float32(vectors, queries, K)
        result = {"scan": scan(vectors, queries, truth), **peers(vectors, queries, truth)}
        for kind in filter(None, args.approximate.split(",")):
            result[f"approximate {kind}"] = approximate(Path(folder) / kind, vectors, queries, truth, kind)
    flat = result.get("faiss flat", result["numpy float32"])
    for name in ("single", "batched"):
        key = f"{name}_per_s"
        result["scan"][f"{name}_over_numpy"] = round(result["scan"][key] / result["numpy float32"][key], 2)
        result["scan"][f"{name}_over_faiss_flat"] = round(result["scan"][key] / flat[key], 2)
    for name, row in result.items():
        print(f"{name:18s} " + ", ".join(f"{k} {v}" for k, v in row.items()))
    if args.out:
        facts = {"rows": args.rows, "dim": args.dim, "queries": args.queries, "threads": 1, "processor": processor()}
        write_json(args.out, {"date": datetime.now(UTC).isoformat(timespec="seconds"), **facts, "retrieval": result})


def processor() -> str:
    """Return the name of the processor."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").is_file() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


def draw(path: Path, rows: int, dim: int) -> None:
    """Write unit vectors of the hard set."""
    rng = np.random.default_rng(7)
    width = np.float32(np.sqrt(dim))
    with path.open("wb") as stream:
        for part in np.array_split(np.arange(rows), CLUSTERS):
            centre = rng.standard_normal(dim, dtype=np.float32) / width
            directions = rng.standard_normal((RANK, dim), dtype=np.float32) / width / np.float32(np.sqrt(RANK))
            made = centre + SPREAD * rng.standard_normal((len(part), RANK), dtype=np.float32) @ directions
            made += NOISE * rng.standard_normal((len(part), dim), dtype=np.float32) / width
            stream.write((made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32).tobytes())


def moved(vectors: VectorFile, count: int) -> np.ndarray:
    """Return vectors of the set, moved by a tenth of their length."""
    rng = np.random.default_rng(1)
    rows = vectors.gather(np.sort(rng.choice(vectors.count, count, replace=False)))
    rows = rows + 0.1 * rng.standard_normal(rows.shape).astype(np.float32) / np.float32(np.sqrt(vectors.dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def seconds(call: Callable[[], Any], rounds: int = 3) -> float:
    """Return the least processor time of a call."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    """Return the share of true neighbours that were found."""
    return round(float(np.mean([np.isin(b, a).mean() for a, b in zip(found, truth, strict=True)])), 4)


def peak_gb() -> float:
    """Return the most memory this process ever held, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def scan(vectors: VectorFile, queries: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Return the numbers of the scan in 8 bits."""
    read = seconds(lambda: [None for _ in vectors.blocks()])
    before = peak_gb()
    start = time.process_time()
    made = ReducedScan(vectors)
    build = time.process_time() - start
    batched = made.search(queries, K)[0]
    some = queries[: min(64, len(queries))]
    single = np.concatenate([made.search(q[None], K)[0] for q in some])
    return {
        "recall_batched": recall(batched, truth),
        "recall_single": recall(single, truth[: len(some)]),
        "batched_per_s": round(len(queries) / seconds(lambda: made.search(queries, K)), 1),
        "single_per_s": round(len(some) / seconds(lambda: [made.search(q[None], K) for q in some]), 1),
        "held_gb": round(made.memory_bytes() / 1e9, 3),
        "process_grew_gb": round(peak_gb() - before, 3),
        "build_s": round(build - read, 2),
        "read_s": round(read, 2),
        "short_cut_recall": None if made.short_cut_recall is None else round(made.short_cut_recall, 4),
    }


def peers(vectors: VectorFile, queries: np.ndarray, truth: np.ndarray) -> dict[str, dict[str, Any]]:
    """Return the numbers of numpy in float32 and, where FAISS is installed, of its flat and 8-bit indexes."""
    rows = np.concatenate([block for _, block in vectors.blocks()])
    few, part = queries[:8], queries[:64]

    def best(asked: np.ndarray) -> np.ndarray:
        scores = asked @ rows.T
        top = np.argpartition(scores, -K, axis=1)[:, -K:]
        return np.take_along_axis(top, np.argsort(-np.take_along_axis(scores, top, 1), axis=1), 1)

    found = {
        "numpy float32": {
            "recall_batched": recall(best(part), truth[: len(part)]),
            "batched_per_s": round(len(part) / seconds(lambda: best(part), 2), 1),
            "single_per_s": round(len(few) / seconds(lambda: [best(q[None]) for q in few], 2), 1),
            "held_gb": round(rows.nbytes / 1e9, 3),
        }
    }
    try:
        import faiss
    except ModuleNotFoundError:
        return found
    faiss.omp_set_num_threads(1)
    flat = faiss.IndexFlatIP(vectors.dim)
    flat.add(rows)
    eight = faiss.IndexScalarQuantizer(vectors.dim, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    start = time.process_time()
    eight.train(rows[:: max(1, len(rows) // 100_000)])
    eight.add(rows)
    builds = {"faiss flat": 0.0, "faiss 8 bit": round(time.process_time() - start, 2)}
    for name, made in (("faiss flat", flat), ("faiss 8 bit", eight)):
        asked = queries if name == "faiss flat" else part
        found[name] = {
            "recall_batched": recall(made.search(asked, K)[1], truth[: len(asked)]),
            "batched_per_s": round(len(asked) / seconds(lambda: made.search(asked, K), 1), 1),  # noqa: B023
            "single_per_s": round(len(few) / seconds(lambda: [made.search(q[None], K) for q in few], 3), 1),  # noqa: B023
            "build_s": builds[name],
        }
    return found


def approximate(folder: Path, vectors: VectorFile, queries: np.ndarray, truth: np.ndarray, kind: str) -> dict[str, Any]:
    """Return the numbers of an approximate index, or why it is refused."""
    facts = {"model": "bench", "weights_sha256": "", "space": "encoder", "preprocessing": {}, "dim": vectors.dim}
    with create_index(folder, facts) as index:
        for start, block in vectors.blocks():
            add(
                index,
                [Item(key=str(start + i), kind="image", study_id=str(start + i)) for i in range(len(block))],
                block,
            )
        begun = time.process_time()
        try:
            measured = build_approximate(index, kind)
        except InvalidInput as error:
            return {"build_s": round(time.process_time() - begun, 1), "refused": error.message}
        build = time.process_time() - begun
        made = load_approximate(index)
        return {
            "measured_recall": round(measured.recall, 4),
            "effort": measured.effort,
            "recall_batched": recall(made.search(queries, K)[0], truth),
            "single_per_s": round(len(queries) / seconds(lambda: [made.search(q[None], K) for q in queries], 2), 1),
            "build_s": round(build, 1),
        }


if __name__ == "__main__":
    main()
