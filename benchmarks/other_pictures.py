#!/usr/bin/env python3
"""What a network makes of PandaSet's six-camera bag when its pictures are taken away, blackened, greyed or swapped among the cameras.

    python benchmarks/other_pictures.py cmdfusion_ros/weights/flagship_nano.safetensors ... --data ../shared/data [--every 4]

Mean IoU over the classes that occur. A picture that says nothing should cost nothing.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.training.metrics import ConfusionMatrix
from cmdfusion_ros.training.recipe import DataSettings

BAG = DataSettings(layout="bags", root="bags", dataset="pandaset", sequences=("pandaset_002",), images=True)
CHANGES = {
    "none": lambda views: (),
    "own": lambda views: views,
    "black": lambda views: tuple(replace(view, image=np.zeros_like(view.image)) for view in views),
    "grey": lambda views: tuple(replace(view, image=np.full_like(view.image, 118)) for view in views),
    "swapped": lambda views: tuple(replace(view, image=other.image) for view, other in zip(views, (*views[1:], *views[:1]), strict=True)),
}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", metavar="CHECKPOINT")
    parser.add_argument("--data", required=True, metavar="DIR")
    parser.add_argument("--every", type=int, default=4, metavar="N", help="take every Nth scan (default: 4)")
    args = parser.parse_args(arguments)
    print(f"{'pictures':<28}" + "".join(f"{name:>10}" for name in CHANGES))
    for path in args.checkpoints:
        segmenter = Segmenter(path, device="cpu")
        scans = BAG.open(args.data, segmenter.class_map)
        matrices = {name: ConfusionMatrix(segmenter.class_map.num_classes) for name in CHANGES}
        for index in range(1, len(scans), args.every):
            frame = scans[index]
            for name, change in CHANGES.items():
                matrices[name].add(frame.labels, segmenter.segment(replace(frame, views=change(frame.views))).labels)
        print(f"{Path(path).stem:<28}" + "".join(f"{100 * matrix.miou_of_present:>10.1f}" for matrix in matrices.values()), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
