#!/usr/bin/env python3
"""Which wrong extrinsics and clocks `cmdfusion inspect` notices on a bag that is right.

python benchmarks/alignment.py $CMDFUSION_DATA/bags/pandaset_002   # a row for each mistake
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import cv2
import numpy as np

from cmdfusion_ros.cli.inspections.alignment import camera_looks, some_clouds
from cmdfusion_ros.data.bags.bag import Bag
from cmdfusion_ros.data.bags.bag_layout import inspect_bag
from cmdfusion_ros.data.bags.bag_transforms import BagTransforms
from cmdfusion_ros.geometry.transforms import rigid
from cmdfusion_ros.labelling.alignment.check import check_alignment
from cmdfusion_ros.labelling.alignment.score import Look
from cmdfusion_ros.messages.camera_info import read_camera_info

# optical axes (x right, y down, z ahead) as a body's (x ahead, y left, z up)
BODY_FROM_OPTICAL = ((0.0, 0, 1), (-1, 0, 0), (0, -1, 0))


def moved(
    turn: Sequence[float] = (0, 0, 0), shift: Sequence[float] = (0, 0, 0)
) -> Callable[[Look], Look]:
    """Puts points wrongly: degrees about the optical axes, then metres along them."""
    rotation = cv2.Rodrigues(np.radians(np.array(turn, float)))[0]
    return placed(rigid(rotation, shift))


def placed(wrong: np.ndarray) -> Callable[[Look], Look]:
    return lambda look: replace(look, camera_from_lidar=wrong @ look.camera_from_lidar)


def late(seconds: float) -> Callable[[Look], Look]:
    """Stamps that say so much less than when the image was taken."""

    def change(look: Look) -> Look:
        if look.velocity is None or look.turning is None:
            return look
        back = rigid(cv2.Rodrigues(seconds * look.turning)[0], seconds * look.velocity)
        return replace(look, camera_from_lidar=look.camera_from_lidar @ back)

    return change


MISTAKES: dict[str, Callable[[Look], Look]] = {
    "right": lambda look: look,
    **{f"yaw {d} deg": moved(turn=(0, d, 0)) for d in (1, 2, 5)},
    **{f"pitch {d} deg": moved(turn=(d, 0, 0)) for d in (1, 2, 5)},
    **{f"roll {d} deg": moved(turn=(0, 0, d)) for d in (1, 2, 5)},
    **{f"{d} cm sideways": moved(shift=(d / 100, 0, 0)) for d in (10, 30)},
    **{f"{ms} ms late": late(ms / 1e3) for ms in (50, 100)},
    "body's axes": placed(rigid(BODY_FROM_OPTICAL, (0, 0, 0))),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bag")
    parser.add_argument("--mistakes", nargs="*", help="some of them; all without")
    args = parser.parse_args()
    layout = inspect_bag(args.bag)
    with Bag(args.bag) as bag:
        transforms = BagTransforms(bag, layout.transform_topics, layout.cloud_frame)
        clouds = some_clouds(bag, layout)
        looks = [
            (camera, camera_looks(bag, camera, clouds, transforms.trajectory))
            for camera in layout.usable_cameras
        ]
    for name, change in MISTAKES.items():
        if args.mistakes and name not in args.mistakes:
            continue
        noticed, said, before = 0, [], time.process_time()
        for camera, those in looks:
            lens = read_camera_info(camera.info, camera.rectified)[:2]
            found = check_alignment([change(look) for look in those], *lens)
            noticed += found.is_wrong
            turn = ", ".join(f"{x:+.1f}" for x in found.correction.turn)
            shift = ", ".join(f"{100 * x:+.0f}" for x in found.correction.shift)
            numbers = {"turn": turn, "shift": shift, "late": f"{1e3 * found.correction.late:+.0f}"}
            also = "".join(f" or {kind}" for kind, _ in found.also)
            said.append(
                f"{camera.name}: {found.verdict} {numbers.get(found.verdict, '')}{also} "
                f"({found.score:.2f} -> {found.best:.2f})"
            )
        seconds = (time.process_time() - before) / max(len(looks), 1)
        print(
            f"{name}: noticed {noticed} of {len(looks)}, {seconds:.1f} CPU s each; "
            f"{'; '.join(said)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
