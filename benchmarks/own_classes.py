#!/usr/bin/env python3
"""What fine-tuning on few scans with classes of one's own is worth: fifteen scans of PandaSet 002
with the five classes of config/classes/yard.yaml, tested on the seven from 73 on.

    python benchmarks/own_classes.py --data $CMDFUSION_DATA --work WORK [--steps 400]
        [--rows NAME ...] [--json FILE]

Each row trains as the recipe that `cmdfusion train --classes` writes, but for what its name says:
from nothing or from the weights that ship, with a learning rate, with parts that stay as they are.
The data folder holds scans 0 to 36, 40, 44, 48, 55, 59 to 70, 72 to 79 of the drive; those from 29
to 61 are fifteen. How many of them the weights that ship have learnt is printed; those that test
they have not (training would refuse). A row that WORK holds is not trained again.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cmdfusion_ros.checkpoint.file import load_checkpoint
from cmdfusion_ros.evaluation.metrics import score
from cmdfusion_ros.inference import Segmenter, default_checkpoint_path
from cmdfusion_ros.training.own_recipe import recipe_text
from cmdfusion_ros.training.provenance import scans_met, scans_seen
from cmdfusion_ros.training.recipe import Recipe, load_recipe
from cmdfusion_ros.training.trainer import NETWORK, Trainer

CLASSES = Path(__file__).resolve().parents[1] / "config" / "classes" / "yard.yaml"
SCANS = {"root": "pandaset", "dataset": "pandaset", "sequences": ["002"]}
TRAIN = {**SCANS, "first_scan": 29, "last_scan": 61}
TRAINED = (*range(29, 37), 40, 44, 48, 55, 59, 60, 61)  # what lies there of them
TEST = {**SCANS, "first_scan": 73}
ENCODER = ("embedding", "stem", "down")
DECODER = ("up", "of_points", "to_knowledge", "knowledge", "trust", "joins", "pixel_head")
# name -> what differs from the recipe
ROWS: dict[str, dict[str, Any]] = {
    "from nothing, rate 0.003": {"start_from": "", "learning_rate": 0.003},
    "from nothing, rate 0.01": {"start_from": "", "learning_rate": 0.01},
    "shipped, rate 0.0003": {"learning_rate": 0.0003},
    "shipped, rate 0.001": {},
    "shipped, rate 0.003": {"learning_rate": 0.003},
    "shipped, rate 0.01": {"learning_rate": 0.01},
    "shipped, rate 0.003, encoder frozen": {
        "frozen": ("images", *ENCODER),
        "learning_rate": 0.003,
    },
    "shipped, rate 0.01, only the head": {
        "frozen": ("images", *ENCODER, *DECODER),
        "learning_rate": 0.01,
    },
}


def recipe_of(row: str, steps: int, work: Path) -> Recipe:
    """The Recipe of a row."""
    path = work / "own.yaml"
    path.write_text(recipe_text(str(CLASSES), [TRAIN], TEST))
    recipe = replace(load_recipe(path), steps=steps, **ROWS[row])
    if not recipe.start_from:
        return replace(recipe, start_partly=False, frozen=())
    return recipe


def trained(row: str, steps: int, data: Path, work: Path) -> dict[str, Any]:
    """Train a row and score it on the later scans; {miou, accuracy, iou, minutes}."""
    folder = work / f"{row.replace(' ', '_').replace(',', '')}_{steps}"
    kept = folder / "figures.json"
    if kept.exists():
        return json.loads(kept.read_text())
    recipe, started = recipe_of(row, steps, work), time.monotonic()
    resume = (folder / "state.pt").exists()
    trainer = Trainer(recipe, data, folder, resume=resume)
    numbers = tuple(int(name.rpartition("/")[2]) for name in trainer.scans.names)
    if numbers != TRAINED:
        raise SystemExit(
            f"{data / 'pandaset'}: expected the scans {TRAINED} of drive 002, got {numbers}; other "
            "scans give another table"
        )
    trainer.validation_scans = None  # type: ignore[assignment]  # scored once, below
    trainer.run()
    minutes = (time.monotonic() - started) / 60
    segmenter = Segmenter(load_checkpoint(folder / NETWORK), device="cpu", images="on")
    scans: Any = recipe.validation.open(data, segmenter.class_map)
    figures = score(segmenter.segment, scans, segmenter.class_map).to_dict()
    known = {key: figures[key] for key in ("miou", "accuracy", "iou")}
    kept.write_text(json.dumps({**known, "minutes": minutes}, indent=1) + "\n")
    return json.loads(kept.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    results = {}
    seen = scans_seen(load_checkpoint(default_checkpoint_path()).card)
    known = scans_met([f"pandaset/002/{number:06d}" for number in TRAINED], seen, "pandaset")
    print(f"{len(TRAINED)} scans train; the weights that ship have learnt {len(known)} of them")
    print(f"{'row':40}{'mIoU':>7}{'accuracy':>10}{'minutes':>9}   IoU of each class", flush=True)
    for row in args.rows:
        found = results[row] = trained(row, args.steps, args.data, args.work)
        classes = "  ".join(
            f"{name} {100 * (np.nan if iou is None else iou):.1f}"
            for name, iou in found["iou"].items()
        )
        print(
            f"{row:40}{100 * found['miou']:7.1f}{100 * found['accuracy']:10.1f}"
            f"{found['minutes']:9.1f}   {classes}",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps({"steps": args.steps, "rows": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
