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
import array
import json
import statistics
import time
from types import SimpleNamespace

import cv2
import numpy as np

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.frame import Prediction
from cmdfusion_ros.geometry.projection import project_points
from cmdfusion_ros.messages.clouds import DTYPES, read_cloud
from cmdfusion_ros.messages.images import decode_image
from cmdfusion_ros.messages.labelled_clouds import Field, fill_cloud, write_labelled_cloud
from cmdfusion_ros.messages.stamps import raw_stamp_ns

CLASS_MAP = load_class_map("street")
IMAGE_SIZE = (960, 540)
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


class RclpyWire:
    """Messages and bytes as rclpy makes them."""

    name = "rclpy"

    def __init__(self):
        from rclpy.serialization import deserialize_message, serialize_message
        from sensor_msgs.msg import CompressedImage, Image, PointCloud2, PointField
        from std_msgs.msg import Header

        self.types = {
            "PointCloud2": PointCloud2,
            "Image": Image,
            "CompressedImage": CompressedImage,
        }
        self.point_field, self.make_header = PointField, lambda: Header(frame_id="lidar")
        self.make_cloud, self._from, self._to = PointCloud2, deserialize_message, serialize_message

    def deserialize(self, raw, name):
        return self._from(raw, self.types[name])

    def serialize(self, message):
        return self._to(message)

    def make(self, name, data, **values):
        message = self.types[name](**values)
        message.data = array.array("B", data)
        return message


class RosbagsWire:
    """Messages and bytes as rosbags makes them, where there is no ROS."""

    name = "rosbags"

    def __init__(self):
        from rosbags.typesys import Stores, get_typestore

        self._store = get_typestore(Stores.ROS2_HUMBLE)
        self._types = self._store.types
        self.point_field = self._types["sensor_msgs/msg/PointField"]

    def make_header(self):
        return self._types["std_msgs/msg/Header"](
            stamp=self._types["builtin_interfaces/msg/Time"](sec=0, nanosec=0), frame_id="lidar"
        )

    def make_cloud(self):
        return self._types["sensor_msgs/msg/PointCloud2"](
            self.make_header(), 0, 0, [], False, 0, 0, np.zeros(0, np.uint8), True
        )

    def deserialize(self, raw, name):
        return self._store.deserialize_cdr(raw, f"sensor_msgs/msg/{name}")

    def serialize(self, message):
        message.data = np.frombuffer(message.data, np.uint8)
        return self._store.serialize_cdr(message, message.__msgtype__)

    def make(self, name, data, **values):
        return self._types[f"sensor_msgs/msg/{name}"](data=np.frombuffer(data, np.uint8), **values)


def make_wire():
    try:
        return RclpyWire()
    except ImportError:
        return RosbagsWire()


class RewrittenPointCloud2:
    """The two functions of sensor_msgs_py.point_cloud2 that the idioms call, as that package
    works: structured arrays through and through.
    """

    def __init__(self, wire):
        self._wire = wire

    @staticmethod
    def dtype_of(fields, point_step):
        formats = {
            "names": [f.name for f in fields],
            "formats": [DTYPES[f.datatype] for f in fields],
            "offsets": [f.offset for f in fields],
        }
        return np.dtype({**formats, "itemsize": point_step})

    def read_points(self, cloud, field_names, skip_nans):
        points = np.ndarray(
            cloud.width * cloud.height,
            self.dtype_of(cloud.fields, cloud.point_step),
            np.asarray(cloud.data),
        )[list(field_names)]
        if not skip_nans or cloud.is_dense:
            return points
        return points[np.logical_and.reduce([~np.isnan(points[name]) for name in field_names])]

    def create_cloud(self, header, fields, points, point_step):
        dtype = self.dtype_of(fields, point_step)
        points = (
            points if isinstance(points, np.ndarray) else np.array(list(map(tuple, points)), dtype)
        )
        data = array.array("B")
        data.frombytes(memoryview(points).cast("B"))
        message = self._wire.make_cloud()
        message.header, message.height, message.width, message.fields, message.is_dense = (
            header,
            1,
            len(points),
            fields,
            False,
        )
        message.point_step, message.row_step, message.data = (
            point_step,
            point_step * len(points),
            data,
        )
        return message


def rewritten_cv_bridge(message):
    """What CvBridge does for the two transports measured here: a view or cv2.imdecode, then
    cvtColor.
    """
    if hasattr(message, "encoding"):
        return cv2.cvtColor(
            np.ndarray((message.height, message.width, 3), np.uint8, np.asarray(message.data)),
            cv2.COLOR_BGR2RGB,
        )
    return cv2.cvtColor(
        cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_ANYCOLOR), cv2.COLOR_BGR2RGB
    )


def make_idioms(wire):
    """(point_cloud2, decode, notes): the packages where they are installed, else what stands in
    for them.
    """
    notes = []
    try:
        if wire.name != "rclpy":
            raise ImportError("needs the messages of rclpy")
        from sensor_msgs_py import point_cloud2

        notes.append("sensor_msgs_py: the installed one")
    except ImportError as error:
        point_cloud2 = RewrittenPointCloud2(wire)
        notes.append(f"sensor_msgs_py: its idioms re-written here ({error})")
    try:
        from cv_bridge import CvBridge

        bridge = CvBridge()

        def decode(message):
            return (
                bridge.imgmsg_to_cv2(message, "rgb8")
                if hasattr(message, "encoding")
                else bridge.compressed_imgmsg_to_cv2(message, "rgb8")
            )

        notes.append("cv_bridge: the installed one")
    except ImportError as error:
        decode = rewritten_cv_bridge
        notes.append(f"cv_bridge: its idioms re-written here ({error})")
    return point_cloud2, decode, notes


def make_messages(wire, num_points, num_images, images):
    """Serialised (cloud, [image], name of the image type): a cloud as a Velodyne driver sends
    it, 2 of 100 points NaN, and images with something on them.
    """
    generator = np.random.default_rng(0)
    kinds = [
        ("x", "f4"),
        ("y", "f4"),
        ("z", "f4"),
        ("intensity", "f4"),
        ("ring", "u2"),
        ("time", "f4"),
    ]
    numbers = {kind: number for number, kind in DTYPES.items()}
    dtype = np.dtype(kinds)
    points = np.zeros(num_points, dtype)
    for name, scale in (("x", 60), ("y", 60), ("z", 3)):
        points[name] = generator.uniform(-scale, scale, num_points)
    points["x"][::50] = np.nan
    points["intensity"] = generator.integers(0, 256, num_points)
    fields = [
        wire.point_field(name=name, offset=dtype.fields[name][1], datatype=numbers[kind], count=1)
        for name, kind in kinds
    ]
    cloud = wire.make(
        "PointCloud2",
        points.tobytes(),
        header=wire.make_header(),
        height=1,
        width=num_points,
        fields=fields,
        is_bigendian=False,
        point_step=dtype.itemsize,
        row_step=dtype.itemsize * num_points,
        is_dense=False,
    )
    width, height = IMAGE_SIZE
    coarse = generator.integers(0, 256, (height // 20, width // 20, 3), np.uint8)
    picture = cv2.resize(coarse, IMAGE_SIZE, interpolation=cv2.INTER_CUBIC)
    if images == "jpeg":
        kind, image = (
            "CompressedImage",
            wire.make(
                "CompressedImage",
                cv2.imencode(".jpg", picture)[1].tobytes(),
                header=wire.make_header(),
                format="jpeg",
            ),
        )
    else:
        kind = "Image"
        image = wire.make(
            kind,
            picture.tobytes(),
            header=wire.make_header(),
            height=height,
            width=width,
            encoding="bgr8",
            is_bigendian=0,
            step=3 * width,
        )
    return wire.serialize(cloud), [wire.serialize(image)] * num_images, kind


class Stopwatch:
    """Milliseconds of CPU time (all threads of this process) of each step of one run: other
    processes on the machine do not count.
    """

    def __init__(self):
        self.steps, self._last = {}, time.process_time()

    def lap(self, step):
        now = time.process_time()
        self.steps[step], self._last = (now - self._last) * 1e3, now


def cameras_around(num_cameras):
    """camera_from_lidar (4, 4) of cameras that look all round."""
    forward = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
    transforms = []
    for angle in np.arange(num_cameras) * 2 * np.pi / max(num_cameras, 1):
        c, s = np.cos(angle), np.sin(angle)
        transform = np.eye(4)
        transform[:3, :3] = forward @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
        transforms.append(transform)
    return transforms


def project_all(points, cameras):
    mask = np.zeros(len(points), np.uint32)
    for bit, camera_from_lidar in enumerate(cameras):
        mask |= project_points(points, INTRINSIC, camera_from_lidar, IMAGE_SIZE)[1].astype(
            np.uint32
        ) << np.uint32(bit)
    return mask


def network(num_points, mask):
    """Stands for the network, costs next to nothing and is not timed."""
    return Prediction(
        (np.arange(num_points) % CLASS_MAP.num_classes).astype(np.uint8),
        np.full(num_points, 0.9, np.float32),
        mask,
    )


def run_ours(wire, idioms, messages, cameras):
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


def run_idiom(loop):
    def run(wire, idioms, messages, cameras):
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


def _output_fields():
    numbers = {kind: number for number, kind in DTYPES.items()}
    return [Field(name, 4 * index, numbers[kind]) for index, (name, kind) in enumerate(OUTPUT)]


def measure(num_points, num_cameras, images, images_per_cloud, repeats):
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
    laps = {name: [] for name in ways}
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


def check_equal(wire, results):
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


def main():
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
