"""What a network loses by multiplying in bfloat16, and what time it saves: both precisions on the
same labelled scans, each scan in turn by one and the other, one thread.

On made-up streets of three rigs with their images, or with --data on scans of yours. Exit code 1
where fewer than 99.5 % of the labels are the same or mean IoU differs by more than 0.2 points.
"""

import argparse
import time
from collections.abc import Iterable

import numpy as np

from cmdfusion_ros.checkpoint.file import load_checkpoint
from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.cli.runs.figures import write_figures
from cmdfusion_ros.cli.runs.options import data_settings
from cmdfusion_ros.cli.runs.terminal import progress_bar
from cmdfusion_ros.data.synthetic.sequence import Sequence, SequenceSettings
from cmdfusion_ros.evaluation.metrics import ConfusionMatrix
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.inference import Segmenter

PRECISIONS = ("float32", "bfloat16")
LEAST_EQUAL, MOST_LOST = 0.995, 0.002
RIGS = ("kitti", "pandaset", "nuscenes")


def run(args: argparse.Namespace) -> int:
    """Measure, print, write JSON; returns 0 where the labels hold."""
    checkpoint = load_checkpoint(args.checkpoint)
    segmenters = [
        Segmenter(checkpoint, device="cpu", cpu_threads=1, images="on", precision=precision)
        for precision in PRECISIONS
    ]
    if args.data:
        if not args.sequences:
            raise ValueError("--data: which of its scans? Give --sequences")
        scans: Iterable[Frame] = data_settings(args).open(args.data, checkpoint.class_map)
    else:
        scans = made_up(checkpoint.class_map, args.scans)
    result = compare(segmenters, scans)
    print(
        f"{result['scans']} scans, {result['points']} points; the same label: "
        f"{100 * result['equal']:.2f} % (of the worst scan {100 * result['least_equal']:.2f} %)"
    )
    for precision, own in result["precisions"].items():
        print(
            f"  {precision:10} mIoU {100 * own['miou']:5.1f}   accuracy "
            f"{100 * own['accuracy']:5.1f}   CPU ms a scan {own['cpu_ms']:7.1f}"
        )
    write_figures(args.json, result)
    single, half = (own["miou"] for own in result["precisions"].values())
    return int(result["equal"] < LEAST_EQUAL or abs(single - half) > MOST_LOST)


def made_up(class_map: ClassMap, count: int) -> list[Frame]:
    """`count` labelled scans of each of RIGS, each of another street, with images."""
    return [
        Sequence(977, f"{number:02}", 1, SequenceSettings(rig=rig, image_scale=0.3)).frame(
            0, class_map
        )
        for rig in RIGS
        for number in range(count)
    ]


def compare(segmenters: list[Segmenter], scans: Iterable[Frame]) -> dict:
    """{"scans", "points", "equal", "least_equal", "precisions": {name: {"miou", "accuracy",
    "cpu_ms"}}} of Segmenters that differ in their precision: medians of CPU time, shares of 1.
    """
    matrices = [ConfusionMatrix(each.class_map.num_classes) for each in segmenters]
    spent: list[list[float]] = [[] for _ in segmenters]
    equal, points = [], []
    for number, frame in enumerate(progress_bar(scans, len(scans))):
        if number == 0:
            for segmenter in segmenters:
                segmenter.segment(frame)  # caches and the allocator settle
        answers = []
        for segmenter, times in zip(segmenters, spent, strict=True):
            started = time.thread_time()
            answers.append(segmenter.segment(frame).labels)
            times.append(1e3 * (time.thread_time() - started))
        for matrix, labels in zip(matrices, answers, strict=True):
            matrix.add(frame.labels, labels)
        equal.append((answers[0] == answers[1]).mean())
        points.append(frame.num_points)
    if not points:
        raise ValueError("no scan to measure on")
    return {
        "scans": len(points),
        "points": sum(points),
        "equal": float(np.average(equal, weights=points)),
        "least_equal": float(min(equal)),
        "precisions": {
            segmenter.precision: {
                "miou": matrix.miou,
                "accuracy": matrix.accuracy,
                "cpu_ms": float(np.median(times)),
            }
            for segmenter, matrix, times in zip(segmenters, matrices, spent, strict=True)
        },
    }
