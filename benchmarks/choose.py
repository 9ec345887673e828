#!/usr/bin/env python3
"""What `cmdfusion label --choose` is worth: fine-tuning on as many scans chosen by it as drawn at
random, on SemanticKITTI's folders, tested on other sequences.

    python benchmarks/choose.py --data $CMDFUSION_DATA --work WORK [--scans 4] [--steps 60]
        [--seeds 0 1 2] [--json FILE]

Both rows train from the weights that ship, without images. A seed decides what is drawn and how
training goes on; what is chosen is the same for every seed. A run that WORK holds is not trained
again.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cmdfusion_ros.checkpoint.file import load_checkpoint
from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.data.readers.data_settings import all_sequences
from cmdfusion_ros.data.readers.semantic_kitti import SemanticKitti
from cmdfusion_ros.evaluation.metrics import score
from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.labelling.worth_labelling import descriptor, uncertainty, worth_labelling
from cmdfusion_ros.training.own_recipe import recipe_text
from cmdfusion_ros.training.recipe import load_recipe
from cmdfusion_ros.training.trainer import NETWORK, Trainer

CLASSES = "street"
TESTED = 3  # the last so many sequences


def chosen(scans: SemanticKitti, count: int) -> list[int]:
    """Rows of the scans that `label --choose` takes with the weights that ship."""
    segmenter = Segmenter(device="cpu")
    pairs = [(frame.points, segmenter.segment(frame)) for frame in scans]
    classes = segmenter.class_map.num_classes
    found = np.array([descriptor(points, answer, classes) for points, answer in pairs])
    return worth_labelling(found, np.array([uncertainty(answer) for _, answer in pairs]), count)


def trained(
    name: str, rows: list[int], scans: SemanticKitti, test: SemanticKitti, args: argparse.Namespace
) -> dict[str, Any]:
    """Train on some rows of the scans and score; the scores, with the names of the rows."""
    folder = Path(args.work) / f"{name}_{args.scans}_{args.steps}"
    kept = folder / "figures.json"
    if kept.exists():
        found = json.loads(kept.read_text())
        return {name: found[name] for name in ("miou", "accuracy", "scans")}
    sections = []
    for row in rows:
        _, sequence, number = scans.name(row).split("/")
        place = {"first_scan": int(number), "last_scan": int(number)}
        sections.append({"root": "semantickitti", "sequences": [sequence], **place})
    path = Path(args.work) / f"{name}.yaml"
    last = {"root": "semantickitti", "sequences": [test.name(0).split("/")[1]]}
    path.write_text(recipe_text(CLASSES, sections, last))
    recipe = replace(load_recipe(path), steps=args.steps, seed=int(name.split("_")[1]))
    trainer = Trainer(recipe, args.data, folder, "cpu", (folder / "state.pt").exists())
    trainer.validation_scans = None  # type: ignore[assignment]  # scored once, below
    trainer.run()
    segmenter = Segmenter(load_checkpoint(folder / NETWORK), device="cpu")
    found = score(segmenter.segment, test, segmenter.class_map).to_dict()
    figures = {"miou": found["miou"], "accuracy": found["accuracy"]}
    kept.write_text(json.dumps({**figures, "scans": [scans.name(row) for row in rows]}))
    return json.loads(kept.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", required=True, help="folder with semantickitti/")
    parser.add_argument("--work", required=True, help="folder for the runs")
    parser.add_argument("--scans", type=int, default=4, help="labelled scans of a run (default 4)")
    parser.add_argument("--steps", type=int, default=60, help="of a training (default 60)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", metavar="FILE", help="write the figures here")
    args = parser.parse_args()
    Path(args.work).mkdir(parents=True, exist_ok=True)
    root, class_map = Path(args.data) / "semantickitti", load_class_map(CLASSES)
    sequences = all_sequences(root, "semantic_kitti")
    scans = SemanticKitti(root, sequences[:-TESTED], class_map)
    test = SemanticKitti(root, sequences[-TESTED:], class_map)
    print(f"{args.scans} of {len(scans)} scans, {args.steps} steps, tested on {len(test)} scans")
    picked = chosen(scans, args.scans)
    figures: dict[str, Any] = {}
    segmenter = Segmenter(device="cpu")
    before = score(segmenter.segment, test, segmenter.class_map).to_dict()
    figures["not trained"] = {name: before[name] for name in ("miou", "accuracy")}
    print(f"| not trained | | {100 * before['miou']:.1f} |", flush=True)
    for seed in args.seeds:
        rng = np.random.default_rng(seed)
        drawn = sorted(rng.choice(len(scans), args.scans, replace=False).tolist())
        for name, rows in (("choose", picked), ("random", drawn)):
            figures[f"{name} {seed}"] = trained(f"{name}_{seed}", rows, scans, test, args)
            print(
                f"| {name} | {seed} | {100 * figures[f'{name} {seed}']['miou']:.1f} |", flush=True
            )
    for name in ("choose", "random"):
        mious = [100 * figures[f"{name} {seed}"]["miou"] for seed in args.seeds]
        spread = np.std(mious, ddof=1) if len(mious) > 1 else 0.0
        print(f"| {name} | mean | {np.mean(mious):.1f} +- {spread:.1f} |")
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
