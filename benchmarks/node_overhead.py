"""What the node costs without its network: from the bytes of one cloud and six images to the bytes
of the labelled cloud.

    python benchmarks/node_overhead.py [--points 120000] [--cameras 6] [--images jpeg|bgr8]
                                        [--images-per-cloud 3] [--repeats 15] [--json]

Each camera sends `--images-per-cloud` images for each cloud (30 Hz against 10 Hz), of which one is
chosen and decoded. Three ways, one thread, the same messages:

    ours        read_cloud, raw_stamp_ns, decode_image, write_labelled_cloud, as the node calls
    them: images that are not chosen stay bytes
    structured  the arrays of sensor_msgs_py: read_points into a structured array, fields by name,
                create_cloud from a structured array; cv_bridge; every image is deserialised, as a
                subscription does that is not raw
    loop        the first idiom people write with sensor_msgs_py: a list over read_points,
    create_cloud from a list of tuples; cv_bridge

The installed sensor_msgs_py and cv_bridge are used where they can be imported; otherwise the idioms
as re-written here, and the output says so. Projection is the same function in all three. Messages
are those of rclpy where it is installed, else of rosbags. Times are CPU time; on a shared machine
they are
still noisy: compare the ratios of one run.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from other_idioms import (
    IMAGE_SIZE,
    Idioms,
    Messages,
    Wire,
    make_idioms,
    make_messages,
    make_wire,
)

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.frame import Prediction
from cmdfusion_ros.geometry.projection import project_points
from cmdfusion_ros.messages.clouds import DTYPES, read_cloud
from cmdfusion_ros.messages.images import decode_image
from cmdfusion_ros.messages.labelled_clouds import Field, fill_cloud, write_labelled_cloud
from cmdfusion_ros.messages.stamps import raw_stamp_ns

CLASS_MAP = load_class_map("street")
Run = tuple[dict[str, float], Any, np.ndarray]  # ms a step, serialised labelled cloud, points
INTRINSIC = np.array([[466.0, 0, 480], [0, 466.0, 270], [0, 0, 1]])
OUTPUT = [
    ("x", "f4"),
    ("y", "f4"),
    ("z", "f4"),
    ("intensity", "f4"),
    ("rgb", "f4"),
    ("label", "u4"),
    ("confidence", "f4"),
    ("camera_mask", "u4"),
]
STEPS = (
    "cloud: bytes -> message",
    "cloud: message -> numpy",
    "images: bytes -> message",
    "images: message -> RGB",
    "projection",
    "labels -> cloud message",
    "cloud: message -> bytes",
)


class Stopwatch:
    """Milliseconds of CPU time (all threads of this process) of each step of one run: other
    processes on the machine do not count.
    """

    def __init__(self) -> None:
        self.steps: dict[str, float] = {}
        self._last = time.process_time()

    def lap(self, step: str) -> None:
        now = time.process_time()
        self.steps[step], self._last = (now - self._last) * 1e3, now


def cameras_around(num_cameras: int) -> list[np.ndarray]:
    """camera_from_lidar (4, 4) of cameras that look all round."""
    forward = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
    transforms = []
    for angle in np.arange(num_cameras) * 2 * np.pi / max(num_cameras, 1):
        c, s = np.cos(angle), np.sin(angle)
        transform = np.eye(4)
        transform[:3, :3] = forward @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
        transforms.append(transform)
    return transforms


def project_all(points: np.ndarray, cameras: list[np.ndarray]) -> np.ndarray:
    mask = np.zeros(len(points), np.uint32)
    for bit, camera_from_lidar in enumerate(cameras):
        mask |= project_points(points, INTRINSIC, camera_from_lidar, IMAGE_SIZE)[1].astype(
            np.uint32
        ) << np.uint32(bit)
    return mask


def network(num_points: int, mask: np.ndarray) -> Prediction:
    """Stands for the network, costs next to nothing and is not timed."""
    return Prediction(
        (np.arange(num_points) % CLASS_MAP.num_classes).astype(np.uint8),
        np.full(num_points, 0.9, np.float32),
        mask,
    )


def run_ours(wire: Wire, idioms: Idioms, messages: Messages, cameras: list[np.ndarray]) -> Run:
    raw_cloud, raw_images, kind = messages
    watch = Stopwatch()
    message = wire.deserialize(raw_cloud, "PointCloud2")
    watch.lap(STEPS[0])
    cloud = read_cloud(message)
    points = np.ascontiguousarray(cloud.points[cloud.usable])
    watch.lap(STEPS[1])
    # of all; the newest of each camera is the chosen one
    stamps = [raw_stamp_ns(raw) for raw in raw_images]
    images = [wire.deserialize(raw, kind) for raw in raw_images[-len(cameras) :]] if stamps else []
    watch.lap(STEPS[2])
    for image in images:
        decode_image(image)
    watch.lap(STEPS[3])
    mask = project_all(points, cameras)
    watch.lap(STEPS[4])
    prediction = network(len(points), mask)
    watch.lap("network")
    payload = write_labelled_cloud(cloud, prediction, cloud.usable, CLASS_MAP)
    labelled = fill_cloud(wire.make_cloud(), payload, message.header, wire.point_field)
    watch.lap(STEPS[5])
    raw = wire.serialize(labelled)
    watch.lap(STEPS[6])
    return watch.steps, raw, points


def run_idiom(loop: bool) -> Callable[[Wire, Idioms, Messages, list[np.ndarray]], Run]:
    def run(wire: Wire, idioms: Idioms, messages: Messages, cameras: list[np.ndarray]) -> Run:
        point_cloud2, decode, _ = idioms
        raw_cloud, raw_images, kind = messages
        watch = Stopwatch()
        message = wire.deserialize(raw_cloud, "PointCloud2")
        watch.lap(STEPS[0])
        read = point_cloud2.read_points(
            message, field_names=["x", "y", "z", "intensity"], skip_nans=True
        )
        if loop:
            values = np.array([[p[0], p[1], p[2], p[3]] for p in read], np.float32)
        else:
            values = np.stack([read["x"], read["y"], read["z"], read["intensity"]], axis=1)
        points, intensity = np.ascontiguousarray(values[:, :3]), values[:, 3] / np.float32(255)
        watch.lap(STEPS[1])
        images = [wire.deserialize(raw, kind) for raw in raw_images]
        watch.lap(STEPS[2])
        for image in images[-len(cameras) :]:
            decode(image)
        watch.lap(STEPS[3])
        mask = project_all(points, cameras)
        watch.lap(STEPS[4])
        prediction = network(len(points), mask)
        watch.lap("network")
        fields = [
            wire.point_field(name=f.name, offset=f.offset, datatype=f.datatype, count=1)
            for f in _output_fields()
        ]
        colors = CLASS_MAP.colors_from_labels(prediction.labels).astype(np.uint32)
        rgb = (colors[:, 0] << 16 | colors[:, 1] << 8 | colors[:, 2]).view(np.float32)
        columns = (
            *points.T,
            intensity,
            rgb,
            CLASS_MAP.raw_from_labels(prediction.labels),
            prediction.confidence,
            prediction.camera_mask,
        )
        rows: Any
        if loop:
            rows = list(zip(*(column.tolist() for column in columns), strict=True))
        else:
            rows = np.empty(len(points), np.dtype(OUTPUT))
            for (name, _), column in zip(OUTPUT, columns, strict=True):
                rows[name] = column
        labelled = point_cloud2.create_cloud(message.header, fields, rows, 32)
        watch.lap(STEPS[5])
        raw = wire.serialize(labelled)
        watch.lap(STEPS[6])
        return watch.steps, raw, points

    return run


def _output_fields() -> list[Field]:
    numbers = {kind: number for number, kind in DTYPES.items()}
    return [Field(name, 4 * index, numbers[kind]) for index, (name, kind) in enumerate(OUTPUT)]


def measure(
    num_points: int, num_cameras: int, images: str, images_per_cloud: int, repeats: int
) -> SimpleNamespace:
    """{way: {step: median ms}}, notes. The three ways take turns, so that a busy machine slows
    all alike; first, their results are held against each other.
    """
    wire = make_wire()
    idioms = make_idioms(wire)
    messages, cameras = (
        make_messages(wire, num_points, num_cameras * images_per_cloud, images),
        cameras_around(num_cameras),
    )
    ways = {"ours": run_ours, "structured": run_idiom(loop=False), "loop": run_idiom(loop=True)}
    check_equal(wire, {name: run(wire, idioms, messages, cameras) for name, run in ways.items()})
    laps: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for turn in range(repeats):
        for name, run in ways.items():
            # a loop takes a second; three turns show that
            if name != "loop" or turn < max(3, repeats // 5):
                laps[name].append(run(wire, idioms, messages, cameras)[0])
    medians = {
        name: {step: statistics.median(lap[step] for lap in some) for step in STEPS}
        for name, some in laps.items()
    }
    totals = {
        name: statistics.median(sum(lap[step] for step in STEPS) for lap in some)
        for name, some in laps.items()
    }
    return SimpleNamespace(
        medians=medians, totals=totals, notes=[f"messages: {wire.name}", *idioms[2]]
    )


def check_equal(wire: Wire, results: dict[str, Run]) -> None:
    """The labelled points must be the same whichever way they were made; only ours keeps the
    rows that are no points.
    """
    _, raw, points = results["ours"]
    ours = read_cloud(wire.deserialize(raw, "PointCloud2"))
    for name, (_, other_raw, other_points) in results.items():
        other = read_cloud(wire.deserialize(other_raw, "PointCloud2"))
        words, other_words = (some.raw[some.usable].view(np.uint32) for some in (ours, other))
        same = np.array_equal(points, other_points) and np.array_equal(
            np.delete(words, 3, axis=1), np.delete(other_words, 3, axis=1)
        )
        # intensity: x / 255 against x * (1 / 255)
        if not same or not np.allclose(ours.intensity[ours.usable], other.intensity[other.usable]):
            raise SystemExit(f"{name} does not give what ours gives; its times would mean nothing")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=120_000)
    parser.add_argument("--cameras", type=int, default=6)
    parser.add_argument(
        "--images",
        choices=("jpeg", "bgr8"),
        default="jpeg",
        help=f"transport of the {IMAGE_SIZE[0]} x {IMAGE_SIZE[1]} images",
    )
    parser.add_argument(
        "--images-per-cloud",
        type=int,
        default=3,
        help="images that each camera sends for each cloud; one is decoded",
    )
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    found = measure(
        arguments.points,
        arguments.cameras,
        arguments.images,
        arguments.images_per_cloud,
        arguments.repeats,
    )
    ratios = {name: total / found.totals["ours"] for name, total in found.totals.items()}
    if arguments.json:
        print(
            json.dumps(
                {
                    "medians_ms": found.medians,
                    "totals_ms": found.totals,
                    "ratios": ratios,
                    "notes": found.notes,
                    "arguments": vars(arguments),
                }
            )
        )
        return
    print(
        f"{arguments.points} points, {arguments.cameras} cameras ({arguments.images}), CPU ms, "
        f"median of {arguments.repeats}"
    )
    print(f"{'':26}" + "".join(f"{name:>12}" for name in found.medians))
    for step in STEPS:
        print(f"{step:26}" + "".join(f"{steps[step]:12.2f}" for steps in found.medians.values()))
    print(f"{'total':26}" + "".join(f"{total:12.2f}" for total in found.totals.values()))
    print(f"{'of ours':26}" + "".join(f"{ratio:12.2f}" for ratio in ratios.values()))
    print("\n".join(found.notes))


if __name__ == "__main__":
    main()
