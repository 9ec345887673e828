"""A drive down a lane between hedges, that a teacher can label by colour: ground red, hedges green.

The camera is at the LiDAR and looks ahead, so what is higher than it is above the middle of its
picture: the picture is green above and red below.
"""

from pathlib import Path

import numpy as np

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.data.bags.frame_bag import write_frame_bag
from cmdfusion_ros.frame import CameraView, Frame
from cmdfusion_ros.geometry.transforms import apply, invert, rigid

STREET = load_class_map("street")
ROAD, HEDGE = STREET.label("road"), STREET.label("vegetation")
START, STEP = 1_700_000_000_000_000_000, 100_000_000
SPEED = 5.0  # m/s
LOOKS_AHEAD = rigid(np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]), np.zeros(3))


def lane(rng: np.random.Generator, number: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    """((N, 3) points of the world, (N,) labels) of 60 m of lane."""
    ground = np.column_stack(
        [rng.uniform(-20, 40, number), rng.uniform(-5, 5, number), rng.normal(-1.7, 0.02, number)]
    )
    hedge = np.column_stack(
        [rng.uniform(-20, 40, number), rng.choice([-6.0, 6.0], number), rng.uniform(0.3, 2, number)]
    )
    return np.concatenate([ground, hedge]), np.repeat([ROAD, HEDGE], number).astype(np.uint8)


def lane_frames(num_scans: int) -> list[Frame]:
    """Scans of the lane with poses, true labels and one camera."""
    image = np.zeros((96, 128, 3), np.uint8)
    image[:48, :, 1], image[48:, :, 0] = 255, 255
    intrinsic = np.array([[64.0, 0, 63.5], [0, 64, 47.5], [0, 0, 1]])
    frames = []
    for place in range(num_scans):
        world, labels = lane(np.random.default_rng(place))
        pose = rigid(np.eye(3), (SPEED * place * STEP / 1e9, 0, 0))
        points = apply(invert(pose), world).astype(np.float32)
        stamp = START + place * STEP
        view = CameraView("front", image, intrinsic, LOOKS_AHEAD, stamp=stamp)
        frames.append(
            Frame(
                points,
                np.full(len(points), 0.5, np.float32),
                stamp,
                "lidar",
                (view,),
                labels,
                world_from_lidar=pose,
            )  # fmt: skip
        )
    return frames


def write_lane_bag(path: Path, num_scans: int = 10) -> Path:
    """The drive as a bag; labels beside it."""
    write_frame_bag(path, lane_frames(num_scans), STREET)
    return path


def write_lane_streets(folder: Path, number: int = 5) -> Path:
    """Streets of one scan each in SemanticKITTI's layout and ids, in the place of made-up ones."""
    for place in range(number):
        sequence = folder / "sequences" / f"{place:02d}"
        for name in ("velodyne", "labels"):
            (sequence / name).mkdir(parents=True)
        points, labels = lane(np.random.default_rng(100 + place))
        cloud = np.column_stack([points, np.full(len(points), 0.5)]).astype("<f4")
        cloud.tofile(sequence / "velodyne" / "000000.bin")
        raw = np.where(labels == ROAD, 40, 70).astype("<u4")  # road, vegetation
        raw.tofile(sequence / "labels" / "000000.label")
    return folder
