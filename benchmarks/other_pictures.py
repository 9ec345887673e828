#!/usr/bin/env python3
"""What a network makes of real pictures: taken away, their own, blackened, greyed or swapped among
the cameras; and of each camera by itself.

    python benchmarks/other_pictures.py cmdfusion_ros/weights/flagship_nano.safetensors ... --data
    $CMDFUSION_DATA [--scans front] [--every 4]

`--scans bag`: PandaSet's bag with six cameras. `--scans front`: the scans from 44 on of the same
drive, with the front camera alone (of which the weights that ship have seen 56 to 72). Mean IoU
over the classes that occur, in percent; "seen": over the points that a camera sees. A picture that
says nothing should cost nothing.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cmdfusion_ros.data.readers.data_settings import DataSettings
from cmdfusion_ros.evaluation.metrics import ConfusionMatrix
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.inference import Segmenter

SCANS = {
    "bag": DataSettings(
        layout="bags", root="bags", dataset="pandaset", sequences=("pandaset_002",), images=True
    ),
    "front": DataSettings(
        root="pandaset", dataset="pandaset", sequences=("002",), first_scan=44, images=True
    ),
}
CHANGES = {
    "none": lambda views: (),
    "own": lambda views: views,
    "black": lambda views: tuple(replace(view, image=np.zeros_like(view.image)) for view in views),
    "grey": lambda views: tuple(
        replace(view, image=np.full_like(view.image, 118)) for view in views
    ),
    "swapped": lambda views: tuple(
        replace(view, image=other.image)
        for view, other in zip(views, (*views[1:], *views[:1]), strict=True)
    ),
}


class Table:
    """ConfusionMatrices by row and column, made when first asked for."""

    def __init__(self, num_classes: int):
        self._num_classes = num_classes
        self._matrices: dict[tuple[str, str], ConfusionMatrix] = {}

    def at(self, row: str, column: str) -> ConfusionMatrix:
        """The matrix of one cell."""
        return self._matrices.setdefault((row, column), ConfusionMatrix(self._num_classes))

    def show(
        self, title: str, columns: Iterable[str], figure: Callable[[ConfusionMatrix], float]
    ) -> None:
        """Print `figure` of every cell, in percent."""
        print(f"{title:<34}" + "".join(f"{column:>10}" for column in columns))
        for row in dict.fromkeys(row for row, _ in self._matrices):
            print(
                f"  {row:<32}"
                + "".join(f"{100 * figure(self.at(row, column)):>10.1f}" for column in columns),
                flush=True,
            )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoints", nargs="+", metavar="CHECKPOINT")
    parser.add_argument("--data", required=True, metavar="DIR")
    parser.add_argument("--scans", choices=SCANS, default="bag", help="which scans (default: bag)")
    parser.add_argument(
        "--every",
        type=int,
        default=4,
        metavar="N",
        help="take every Nth scan, from the second on (default: 4)",
    )
    args = parser.parse_args(arguments)
    for path in args.checkpoints:
        segmenter = Segmenter(path, device="cpu", images="on")
        scans: Any = SCANS[args.scans].open(args.data, segmenter.class_map)
        whole, alone = measure(segmenter, scans, args.every)
        print(Path(path).stem)
        whole.show("mean IoU", CHANGES, lambda matrix: matrix.miou_of_present)
        whole.show("accuracy", CHANGES, lambda matrix: matrix.accuracy)
        alone.show(
            "each camera alone: mean IoU", ("none", "own"), lambda matrix: matrix.miou_of_present
        )
        alone.show("each camera alone: accuracy", ("none", "own"), lambda matrix: matrix.accuracy)
    return 0


def measure(segmenter: Segmenter, scans: Sequence[Frame], every: int) -> tuple[Table, Table]:
    """(Table of the changes, over all points and over seen ones; Table of each camera by itself,
    over the points that it sees).
    """
    whole, alone = Table(segmenter.class_map.num_classes), Table(segmenter.class_map.num_classes)
    for index in range(1, len(scans), every):
        frame = scans[index]
        assert frame.labels is not None
        answers = {
            name: segmenter.segment(replace(frame, views=change(frame.views)))
            for name, change in CHANGES.items()
        }
        seen = answers["own"].camera_mask > 0
        for name, answer in answers.items():
            whole.at("all points", name).add(frame.labels, answer.labels)
            whole.at("seen points", name).add(frame.labels[seen], answer.labels[seen])
        for view in frame.views:
            own = segmenter.segment(replace(frame, views=(view,)))
            seen = own.camera_mask > 0
            for name, answer in (("none", answers["none"]), ("own", own)):
                alone.at(view.name, name).add(frame.labels[seen], answer.labels[seen])
    return whole, alone


if __name__ == "__main__":
    raise SystemExit(main())
