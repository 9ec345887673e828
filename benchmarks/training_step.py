#!/usr/bin/env python3
"""A training step on one core: the compiled kernels against the plain torch reference, and against
another checkout of this package if one is given.

    python benchmarks/training_step.py [--networks flagship spv_unet] [--steps N]
        [--against FOLDER] [--json FILE] [--picture FILE.png]

Every way is a process of its own with one thread. All take the same steps of config/train/
flagship_nano.yaml (scans, augmentation and teacher are its own; spv_unet takes the place of its
network in the second part) on made-up scans, in turn, step by step, so that all see the same
machine. A step is everything between two of them: drawing the scans, forward, backward, optimiser,
running average. Printed are CPU seconds a step, which waiting for a core does not lengthen, the
ratio of their medians, the peak memory of each process, and how far the loss curves are apart.
"""

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
RECIPE = HERE / "config" / "train" / "flagship_nano.yaml"
WARM_UP = 2  # steps that are not timed
MODELS: dict[str, dict[str, Any]] = {
    "flagship": {},
    "spv_unet": {"network": "spv_unet", "image_trust": "full"},
}


def make_trainer(network: str, data: Path, out: Path, steps: int) -> Any:
    """The Trainer of one part, on the made-up sequences 00 and 01 under `data`."""
    from cmdfusion_ros.training.recipe import load_recipe
    from cmdfusion_ros.training.trainer import Trainer

    recipe = load_recipe(RECIPE)
    train = replace(recipe.train, root=".", called="", sequences=("00", "01"))
    recipe = replace(
        recipe,
        model=replace(recipe.model, **MODELS[network]),
        distill=recipe.distill if network == "flagship" else (),
        train=train,
        train_too=(),
        validation=replace(recipe.validation, sequences=()),
        image_weights="",
        steps=steps,
        save_every=steps,
    )
    return Trainer(recipe, data, out)


def serve(network: str, data: Path, steps: int, reference: bool) -> None:
    """Take a step for every line of the input; say its row and CPU seconds on the output."""
    import torch

    from cmdfusion_ros.sparse import native
    from cmdfusion_ros.training.losses import class_weights_from_counts

    torch.set_num_threads(1)
    off = native.switched_off() if reference else contextlib.nullcontext()
    with off, tempfile.TemporaryDirectory() as out:
        trainer = make_trainer(network, data, Path(out) / "run", steps)
        weights = class_weights_from_counts(trainer.counts, trainer.recipe.class_weight_power)
        for _ in sys.stdin:
            started = time.process_time()
            row = trainer._train_step(weights)  # what `run` does between two saves
            trainer.step += 1
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            row = {
                "cpu_s": time.process_time() - started,
                "loss": row["loss"],
                "points": row["points"],
                "peak_mb": peak,
            }
            print(json.dumps(row), flush=True)


def start(network: str, data: Path, steps: int, package: Path, reference: bool) -> subprocess.Popen:
    """A process that serves steps of the package in a folder."""
    command = [sys.executable, __file__, "--serve", network, "--data", str(data)]
    command += ["--steps", str(steps)] + ["--reference"] * reference
    environment = {**os.environ, "PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def measure(network: str, data: Path, steps: int, against: Path | None) -> dict:
    """{way: rows of its steps}, every step taken by all ways in turn."""
    ways = {"compiled": (HERE, False), "reference": (HERE, True)}
    if against is not None:
        ways["before"] = (against, False)
    processes = {name: start(network, data, steps, *way) for name, way in ways.items()}
    rows: dict[str, list[dict]] = {name: [] for name in ways}
    for _ in range(steps):
        for name, process in processes.items():
            assert process.stdin and process.stdout
            process.stdin.write("step\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"{network}, {name}: the process ended; see its error above")
            rows[name].append(json.loads(line))
    for process in processes.values():
        process.communicate()  # closes its input, which ends it
    return rows


def summary(rows: dict) -> dict:
    """Of the rows of one network: seconds, memory, ratios to `compiled`, distance of the curves."""
    ours = rows["compiled"]
    result = {}
    for name, theirs in rows.items():
        pairs = list(zip(theirs, ours, strict=True))[WARM_UP:]
        gaps = [abs(a["loss"] - b["loss"]) / b["loss"] for a, b in zip(theirs, ours, strict=True)]
        result[name] = {
            "cpu_s": round(statistics.median(a["cpu_s"] for a, _ in pairs), 4),
            "times_as_long": round(statistics.median(a["cpu_s"] / b["cpu_s"] for a, b in pairs), 2),
            "peak_mb": max(row["peak_mb"] for row in theirs),
            "first_loss_gap": gaps[0],
            "mean_loss_gap": round(statistics.mean(gaps), 5),
            "last_quarter_loss": round(
                statistics.mean(row["loss"] for row in theirs[-max(len(theirs) // 4, 1) :]), 4
            ),
        }
    return result


def draw(results: dict, path: Path) -> None:
    """The loss curves of all ways over one another, a panel for each network."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5 * len(results), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for panel, (network, result) in zip(figure.subplots(1, len(results), squeeze=False)[0],
                                        results.items(), strict=True):  # fmt: skip
        for width, (name, rows) in zip((5, 2.5, 1), result["rows"].items(), strict=False):
            label = f"{name}: {result['summary'][name]['cpu_s']:.2f} s a step"
            panel.plot([row["loss"] for row in rows], linewidth=width, alpha=0.7, label=label)
        panel.set(title=network, xlabel="step", ylabel="loss")
        panel.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--steps", type=int, default=40, help="steps of each way (default 40)")
    parser.add_argument(
        "--against", type=Path, help="folder of another checkout, its kernels built"
    )
    parser.add_argument("--data", type=Path, help="sequences made before (default: made anew)")
    parser.add_argument("--json", type=Path, help="write all rows here")
    parser.add_argument("--picture", type=Path, help="draw the loss curves here")
    parser.add_argument("--serve", choices=list(MODELS), help=argparse.SUPPRESS)
    parser.add_argument("--reference", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.data, args.steps, args.reference)
        return
    with tempfile.TemporaryDirectory() as folder:
        data = args.data
        if data is None:
            data = Path(folder)
            settings = str(HERE / "config" / "world" / "training.yaml")
            world = ["world", "--seed", "1", "--sequences", "2", "--scans", "3"]
            world += ["--rig", "kitti", "--settings", settings, "--processes", "1", "--out", folder]
            subprocess.run([sys.executable, "-m", "cmdfusion_ros", *world], check=True, cwd=HERE)
        results = {}
        for network in args.networks:
            rows = measure(network, data.resolve(), args.steps, args.against)
            results[network] = {"summary": summary(rows), "rows": rows}
            for name, row in results[network]["summary"].items():
                print(f"{network:10} {name:10}", json.dumps(row))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")
    if args.picture:
        draw(results, args.picture)


if __name__ == "__main__":
    main()
