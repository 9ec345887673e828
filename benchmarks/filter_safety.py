#!/usr/bin/env python3
"""What ~/points_filtered loses of obstacles, and what it takes of the road, over the probability
from which a point of a removed class goes (`filter.min_probability`).

    python benchmarks/filter_safety.py [CHECKPOINT] --data $CMDFUSION_DATA [--set bag | kitti]
        [--classes road ...]

Labelled scans of the real bag, or of SemanticKITTI, LiDAR alone, by the rule of the node: what lies
beside a person or two-wheeler stays; the last column is people without that. Obstacles are points
labelled car, person, pole_sign or two_wheeler; they and the road are counted within 30 m.
"""

import argparse
from typing import Any

import numpy as np
from tqdm import tqdm

from cmdfusion_ros.checkpoint.file import load_checkpoint
from cmdfusion_ros.data.readers.data_settings import DataSettings
from cmdfusion_ros.inference import Segmenter, default_checkpoint_path
from cmdfusion_ros.labelling.beside_people import beside_people, labels_of_people

SETS = {
    "bag": DataSettings(
        layout="bags", root="bags", dataset="pandaset", sequences=("pandaset_002",), images=False
    ),
    "kitti": DataSettings(root="semantickitti", sequences=("all",), images=False),
}
PLAIN = "person without the rule"
OBSTACLES = ("car", "person", "pole_sign", "two_wheeler")
WITHIN = 30.0  # metres, over the ground
THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)


def counts(
    segmenter: Segmenter, scans: Any, classes: list[str]
) -> tuple[dict[str, int], dict[str, np.ndarray]]:
    """({class: points of it}, {class: (T,) int, how many of them go at each threshold})."""
    class_map = segmenter.class_map
    gone = [class_map.label(name) for name in classes]
    names = ("road", *OBSTACLES)
    people = labels_of_people(class_map)
    points = dict.fromkeys(names, 0)
    removed = {name: np.zeros(len(THRESHOLDS), int) for name in (*names, PLAIN)}
    for frame in tqdm(scans, total=len(scans), unit="scan"):
        prediction = segmenter.segment(frame)
        near = np.hypot(frame.points[:, 0], frame.points[:, 1]) <= WITHIN
        named = np.isin(prediction.labels, gone)
        beside = beside_people(frame.points, people[prediction.labels], named)
        for name in (*names, PLAIN):
            mine = near & (frame.labels == class_map.label(name.partition(" ")[0]))
            leaves = mine & named if name == PLAIN else mine & named & ~beside
            sure = prediction.confidence[leaves]
            removed[name] += (sure[:, None] >= np.array(THRESHOLDS, np.float32)).sum(0)
            if name != PLAIN:
                points[name] += int(mine.sum())
    return points, removed


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", nargs="?", metavar="CHECKPOINT")
    parser.add_argument("--data", required=True, metavar="DIR")
    parser.add_argument("--set", choices=tuple(SETS), default="bag")
    parser.add_argument("--classes", nargs="+", default=["road"], metavar="CLASS")
    args = parser.parse_args(arguments)
    checkpoint = load_checkpoint(args.checkpoint or default_checkpoint_path())
    segmenter = Segmenter(checkpoint, device="cpu", images="off")
    points, removed = counts(
        segmenter, SETS[args.set].open(args.data, segmenter.class_map), args.classes
    )
    present = [name for name in OBSTACLES if points[name]]
    all_points = sum(points[name] for name in present)
    lost = np.sum([removed[name] for name in present], axis=0)
    print(f"classes removed: {', '.join(args.classes)}; points within {WITHIN:g} m: {points}")
    head = (
        "min_probability",
        "obstacles stay, %",
        *(f"{n}, %" for n in present),
        "road goes, %",
        f"{PLAIN}, %",
    )
    print("| " + " | ".join(head) + " |")
    print("| " + " | ".join("---" for _ in head) + " |")
    for row, threshold in enumerate(THRESHOLDS):
        stay = [100 * (1 - lost[row] / all_points)]
        stay += [100 * (1 - removed[name][row] / points[name]) for name in present]
        road = 100 * removed["road"][row] / points["road"]
        plain = 100 * (1 - removed[PLAIN][row] / points["person"]) if points["person"] else 100.0
        cells = " | ".join(f"{x:.2f}" for x in stay)
        print(f"| {threshold:g} | {cells} | {road:.1f} | {plain:.2f} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
