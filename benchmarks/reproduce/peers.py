"""Side by side with AutoGluon MultiModal: same eyes, same split by patient, same encoder, same number of epochs.

    python benchmarks/reproduce/peers.py [--peer-python path/to/python]

The question is diabetic retinopathy of an ODIR eye, yes or no (AutoGluon MultiModal has no multi-label task), from the
photograph, age and sex. Both train a ResNet-18 from scratch on pictures of the same side, in processes of their own with
the same number of threads, and predict the same held-out eyes. `--peer-python` is an interpreter that has
`autogluon.multimodal`; without it scikit-learn on the embeddings of our network and the table is the peer.
Printed are AUROC with an interval over patients, processor seconds of all threads and peak memory; times are comparable
within one run only.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

SIDE = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FUNDUSION_DATA") or "../shared/data"))
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/peers.json"))
    parser.add_argument("--part", choices=["ours", "autogluon", "sklearn"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        run_part(arguments)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_tables(arguments.data / "odir", folder)
        peers = {"AutoGluon MultiModal": (str(arguments.peer_python), "autogluon")} if arguments.peer_python else {}
        peers["fundusion"] = (sys.executable, "ours")
        peers["scikit-learn on our embeddings"] = (sys.executable, "sklearn")
        answer = {"eyes": {}, "epochs": arguments.epochs, "side": SIDE, "results": {}}
        for name, (python, part) in peers.items():
            print(f"running {name}", flush=True)
            answer["results"][name] = start(python, part, folder, arguments)
        with (folder / "test.csv").open() as stream:
            answer["eyes"] = {
                "train": sum(1 for _ in (folder / "train.csv").open()) - 1,
                "test": len(list(csv.DictReader(stream))),
            }
    from fundusion.core.durable import write_json

    write_json(arguments.out, answer)
    print(
        f"\n{answer['eyes']['train']} eyes to train on, {answer['eyes']['test']} to test, {arguments.epochs} epochs, {SIDE} px"
    )
    print(f"  {'':32s}{'AUROC':>24s}{'train CPU s':>13s}{'predict CPU s':>15s}{'peak MB':>9s}")
    for name, r in answer["results"].items():
        auroc = f"{r['auroc']:.3f} ({r['low']:.3f} to {r['high']:.3f})"
        print(f"  {name:32s}{auroc:>24s}{r['train_cpu_s']:13.0f}{r['predict_cpu_s']:15.1f}{r['peak_mb']:9.0f}")
    print(f"Written: {arguments.out}")


def start(python: str, part: str, folder: Path, arguments: argparse.Namespace) -> dict:
    command = [
        python,
        __file__,
        "--part",
        part,
        "--folder",
        str(folder),
        "--epochs",
        str(arguments.epochs),
        "--threads",
        str(arguments.threads),
    ]
    done = subprocess.run(
        command,
        env={**os.environ, "OMP_NUM_THREADS": str(arguments.threads)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    facts = json.loads(done.stdout.strip().splitlines()[-1])
    return {**facts, **area(folder / "test.csv", folder / f"{part}.json")}


def write_tables(odir: Path, folder: Path) -> None:
    """Write the tables both read: absolute picture, age, sex, label, patient; pictures are scaled once for both."""
    import cv2

    from fundusion.datasets._splits import position_of
    from fundusion.datasets.odir import odir as read

    (folder / "pictures").mkdir()
    rows: dict[str, list] = {"train": [], "test": []}
    for record in read(odir):
        picture = folder / "pictures" / f"{record.study_id}.png"
        pixels = cv2.imread(record.images["cfp"][0])
        cv2.imwrite(str(picture), cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
        part = "test" if position_of(f"odir/{record.patient_id}") < 0.2 else "train"
        age, sex = record.metadata["age"], record.metadata["sex"]
        rows[part].append(
            [record.study_id, record.patient_id, str(picture), age, sex, int(record.labels["disease"]["D"])]
        )
    for part, found in rows.items():
        with (folder / f"{part}.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["study", "patient", "image", "age", "sex", "label"])
            writer.writerows(found)


def area(table: Path, scores: Path) -> dict:
    import numpy as np

    from fundusion.metrics.statistics import SortedAuroc, bootstrap

    with table.open() as stream:
        rows = list(csv.DictReader(stream))
    curve = SortedAuroc([float(r["label"]) for r in rows], json.loads(scores.read_text()))
    found = bootstrap(curve, [r["patient"] for r in rows], generator=np.random.default_rng(0))
    return {"auroc": found.value, "low": found.low, "high": found.high}


def run_part(arguments: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(arguments.threads)
    part = {"ours": ours, "autogluon": autogluon, "sklearn": sklearn}[arguments.part]
    # Processor time of the process and its children: other work on the machine does not count.
    began = processor_seconds()
    predict = part(arguments)
    trained = processor_seconds()
    scores = predict()
    done = processor_seconds()
    (arguments.folder / f"{arguments.part}.json").write_text(json.dumps([float(s) for s in scores]))
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    print(json.dumps({"train_cpu_s": trained - began, "predict_cpu_s": done - trained, "peak_mb": peak}))


def processor_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def records_of(table: Path) -> list:
    from fundusion.core.study import StudyRecord

    with table.open() as stream:
        return [
            StudyRecord(
                study_id=r["study"], patient_id=r["patient"], images={"cfp": (r["image"],)},
                metadata={"age": float(r["age"]), "sex": r["sex"]}, labels={"retinopathy": int(r["label"])},
            )
            for r in csv.DictReader(stream)
        ]  # fmt: skip


def ours(arguments: argparse.Namespace):
    from fundusion.network import load_network
    from fundusion.train import train
    from fundusion.train.config import parse_config
    from fundusion.train.data import prepare_set
    from fundusion.train.evaluation import encode_rows, fuse_subset

    config = parse_config(
        {
            "data": {"side": SIDE, "validation_fraction": 0.1},
            "network": {"encoders": {"cfp": "resnet.18", "table": "tabular.additive"}, "fusion": "late",
                        "modality_dropout": 0.0},
            "tasks": {"retinopathy": {"kind": "binary", "labels": ["no", "yes"]}},
            "augment": {"strength": 1.0},
            "train": {"sizes": [[SIDE, arguments.epochs]], "batch_size": 32, "learning_rate": 1e-3, "fused": 0.0,
                      "warmup_steps": 100, "evaluate_every": 3, "ema": 0.99},
        }
    )  # fmt: skip
    result = train(records_of(arguments.folder / "train.csv"), arguments.folder / "run", config=config)
    network, _ = load_network(result.folder / "model")

    def predict():
        import numpy as np

        data = prepare_set(
            records_of(arguments.folder / "test.csv"), network.spec.inputs, schema=network.spec.table, side=SIDE
        )
        found = encode_rows(network, data, np.arange(len(data)), size=SIDE)
        return fuse_subset(network, found, network.modalities)["retinopathy"][:, 0]

    return predict


def sklearn(arguments: argparse.Namespace):
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from fundusion.network import load_network
    from fundusion.train.data import prepare_set
    from fundusion.train.evaluation import encode_rows

    network, _ = load_network(arguments.folder / "run" / "model")

    def vectors(name: str):
        records = records_of(arguments.folder / name)
        data = prepare_set(records, network.spec.inputs, schema=network.spec.table, side=SIDE)
        found = encode_rows(network, data, np.arange(len(data)), size=SIDE)
        table = [[r.metadata["age"], r.metadata["sex"] == "male"] for r in records]
        return np.concatenate([found.features["cfp"].pooled.numpy(), table], 1), [
            r.labels["retinopathy"] for r in records
        ]

    x, y = vectors("train.csv")
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500)).fit(x, y)
    return lambda: model.predict_proba(vectors("test.csv")[0])[:, 1]


def autogluon(arguments: argparse.Namespace):
    import pandas
    from autogluon.multimodal import MultiModalPredictor
    from autogluon.multimodal.models import timm_image

    # Nothing is downloaded: both sides start from random weights.
    create = timm_image.create_model
    timm_image.create_model = lambda *a, **k: create(*a, **{**k, "pretrained": False})
    columns = ["image", "age", "sex", "label"]
    predictor = MultiModalPredictor(
        label="label", problem_type="binary", eval_metric="roc_auc", path=str(arguments.folder / "ag"), verbosity=0
    )
    predictor.fit(
        pandas.read_csv(arguments.folder / "train.csv")[columns],
        hyperparameters={
            "model.names": ["timm_image", "numerical_mlp", "categorical_mlp", "fusion_mlp"],
            "model.timm_image.checkpoint_name": "resnet18", "model.timm_image.image_size": SIDE,
            # Its usual layer-wise decay of the rate is for pretrained weights and would hold these near random.
            "optim.lr_choice": "single_stage", "optim.lr": 1e-3, "optim.max_epochs": arguments.epochs,
            "optim.patience": 100, "optim.top_k": 1, "optim.val_check_interval": 1.0,
            "env.batch_size": 32, "env.per_gpu_batch_size": 32, "env.num_gpus": 0, "env.num_workers": 0,
            "env.num_workers_inference": 0, "env.precision": "32", "env.accelerator": "cpu", "env.strategy": "auto",
        },
        column_types={"image": "image_path"},
        seed=0,
    )  # fmt: skip
    test = pandas.read_csv(arguments.folder / "test.csv")[columns[:-1]]
    return lambda: predictor.predict_proba(test, as_pandas=False)[:, 1]


if __name__ == "__main__":
    main()
