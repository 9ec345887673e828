#!/usr/bin/env python3
"""What networks are worth on real scans: one table of several checkpoints on the frames of
$CMDFUSION_DATA, and mIoU against live cameras on the six-camera bag.

    python benchmarks/transfer.py now=cmdfusion_ros/weights/flagship_nano.safetensors
        first=runs/street_lidar/network.safetensors ... --data $CMDFUSION_DATA [--json FILE]
        [--picture FILE.png]

Each set is scored with its images (where a network looks at any) and without. A checkpoint trained
on scans of a set is not scored on it. `mean` is over the classes that the set has points of,
`benchmark mean` also counts classes that are only predicted, as 0.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tqdm import tqdm

from cmdfusion_ros.checkpoint.file import load_checkpoint
from cmdfusion_ros.data.readers.data_settings import DataSettings
from cmdfusion_ros.evaluation.evaluate import evaluate
from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.training.provenance import scans_seen

_KITTI = ("00", "01", "02", "03", "04", "05", "06", "07", "09", "10")
SETS = {
    "SemanticKITTI, 50 scans": DataSettings(root="semantickitti", sequences=_KITTI),
    "SemanticKITTI, sequence 00": DataSettings(root="semantickitti", sequences=("00",)),
    "PandaSet 002, from scan 44 on": DataSettings(
        root="pandaset", dataset="pandaset", sequences=("002",), first_scan=44
    ),
    "PandaSet bag, six cameras": DataSettings(
        layout="bags", root="bags", dataset="pandaset", sequences=("pandaset_002",)
    ),
}
CURVE = "PandaSet bag, six cameras"


def scored(
    segmenter: Segmenter, data: DataSettings, folder: str, images: bool, subsets: int
) -> dict[str, Any] | None:
    """What `evaluate` gives, or None where the checkpoint was trained on a scan of the set."""
    settings = DataSettings(**{**vars(data), "images": images})
    scans = settings.open(folder, segmenter.class_map)
    if set(scans.names) & scans_seen(segmenter.card):
        return None
    result = evaluate(
        segmenter, tqdm(scans, total=len(scans), unit="scan", leave=False), max_subsets=subsets
    )
    present = [iou for name, iou in result["iou"].items() if result["points"][name]]
    result["by_live_cameras"] = {
        number: entry for number, entry in result["by_live_cameras"].items() if entry["subsets"]
    }
    return {**result, "mean_of_present": round(float(np.mean(present)), 6)}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoints", nargs="+", metavar="NAME=CHECKPOINT")
    parser.add_argument("--data", required=True, metavar="DIR")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS), metavar="NAME")
    parser.add_argument(
        "--subsets",
        type=int,
        default=20,
        help="of the cameras, for each number of live ones (default: 20, all of six)",
    )
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--picture", metavar="FILE.png", help="mIoU against live cameras")
    args = parser.parse_args(arguments)
    results: dict[str, dict[str, Any]] = {}
    for entry in args.checkpoints:
        name, _, path = entry.partition("=")
        segmenter = Segmenter(load_checkpoint(path), device="cpu", images="on")
        for what in args.sets:
            subsets = args.subsets if what == CURVE else 0
            for images in (False, True) if segmenter.uses_images else (False,):
                result = scored(segmenter, SETS[what], args.data, images, subsets if images else 0)
                results.setdefault(what, {})[f"{name}{', images' if images else ''}"] = result
    for what, columns in results.items():
        print_table(what, columns)
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=1) + "\n")
    if args.picture:
        draw(
            args.picture,
            {name: result["by_live_cameras"] for name, result in results[CURVE].items() if result},
        )
    return 0


def print_table(what: str, results: dict[str, Any]) -> None:
    columns = {name: result for name, result in results.items() if result}
    print(
        f"\n{what}\n{'IoU, %':<18}{'points':>10}{'chance':>8}"
        + "".join(f"{name[-20:]:>22}" for name in columns)
    )
    first = next(iter(columns.values()))
    for label, points in first["points"].items():
        if points:
            print(
                f"{label:<18}{points:>10}{100 * first['chance'][label]:>8.1f}"
                + "".join(f"{100 * each['iou'][label]:>22.1f}" for each in columns.values())
            )
    for title, key in (
        ("mean", "mean_of_present"),
        ("benchmark mean", "miou"),
        ("accuracy", "accuracy"),
        ("ECE", "ece"),
    ):
        print(f"{title:<36}" + "".join(f"{100 * each[key]:>22.1f}" for each in columns.values()))
    for name, each in columns.items():
        if len(each["by_live_cameras"]) > 2:
            for title, key in (("mean", "miou_of_present"), ("benchmark mean", "miou")):
                curve = ", ".join(
                    f"{number}: {100 * entry[key]:.2f} ({entry['subsets']})"
                    for number, entry in each["by_live_cameras"].items()
                )
                print(f"{name}: {title} against live cameras (labelled clouds): {curve}")


def draw(path: str, curves: dict[str, dict[str, Any]]) -> None:
    figure = Figure(figsize=(6, 4), layout="tight")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for number, (name, curve) in enumerate(curves.items()):
        if len(curve) > 1:
            axis.plot(
                [int(live) for live in curve],
                [100 * entry["miou_of_present"] for entry in curve.values()],
                marker="o",
                color="black",
                label=name,
            )
        else:
            axis.axhline(
                100 * curve["0"]["miou_of_present"], linestyle="--", color=f"C{number}", label=name
            )
    axis.set(xlabel="live cameras", ylabel="mIoU over the classes that occur, %", title=CURVE)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    raise SystemExit(main())
