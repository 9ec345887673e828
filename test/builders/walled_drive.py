"""A drive past a wall and a box, as messages of a bag: one LiDAR, whose ground lies 1.8 m below it,
and the camera front. What is to be wrong with it, a test says.
"""

import numpy as np
from builders.bag_messages import CLOUD, IMAGE, INFO, MS, START, header, make

PICTURE = (64, 48)  # width, height
_DATATYPES = {"i2": 3, "f4": 7, "f8": 8}


def scene():
    """(3000, 3) metres: ground 1.8 m below the LiDAR, a wall, a box of the size of a car."""
    rng = np.random.default_rng(0)
    angle, far = rng.uniform(-np.pi, np.pi, 1000), rng.uniform(3, 30, 1000)
    ground = np.c_[far * np.cos(angle), far * np.sin(angle), np.full(1000, -1.8)]
    wall = np.c_[rng.uniform(-20, 20, 1000), np.full(1000, 12.0), rng.uniform(-1.8, 3, 1000)]
    box = np.c_[rng.uniform(6, 10, 1000), np.full(1000, 2.0), rng.uniform(-1.8, -0.3, 1000)]
    return np.concatenate([ground, wall, box])


def cloud(stamp, points=None, kind="f4", frame_id="lidar", intensity=True):
    """A PointCloud2 of (N, 3) points, `kind` each coordinate."""
    points = scene() if points is None else points
    names = ["x", "y", "z", *(["intensity"] if intensity else [])]
    kinds = np.dtype([(name, "f4" if name == "intensity" else kind) for name in names])
    rows = np.zeros(len(points), kinds)
    for column, name in enumerate("xyz"):
        rows[name] = points[:, column]
    if intensity:
        rows["intensity"] = np.random.default_rng(1).uniform(5, 120, len(points))
    fields = [
        make("sensor_msgs/msg/PointField", name, kinds.fields[name][1], _DATATYPES[each.str[1:]], 1)
        for name, (each, _) in kinds.fields.items()
    ]
    step, head = kinds.itemsize, header(stamp, frame_id)
    data = rows.view(np.uint8)
    return make(CLOUD, head, 1, len(rows), fields, False, step, step * len(rows), data, True)


def clouds(stamp_of=None, count=10, **looks):
    """Messages of /lidar/points at 10 Hz, recorded 30 ms after their time."""
    times = [START + number * 100 * MS for number in range(count)]
    stamps = [time if stamp_of is None else stamp_of(n) for n, time in enumerate(times)]
    return [
        ("/lidar/points", CLOUD, time + 30 * MS, cloud(stamp, **looks))
        for time, stamp in zip(times, stamps, strict=True)
    ]


def image(stamp):
    width, height = PICTURE
    data = np.full(3 * width * height, 90, np.uint8)
    head = header(stamp, "front_optical")
    return make(IMAGE, head, height, width, "rgb8", 0, 3 * width, data)


def info(stamp, focal=40.0, size=PICTURE):
    width, height = size
    k = np.array([focal, 0, width / 2, 0, focal, height / 2, 0, 0, 1.0])
    region = make("sensor_msgs/msg/RegionOfInterest", 0, 0, 0, 0, False)
    rest = (np.zeros(5), k, np.eye(3).reshape(-1), np.zeros(12), 0, 0, region)
    return make(INFO, header(stamp, "front_optical"), height, width, "plumb_bob", *rest)


def camera(image_of=image, info_of=info, count=10, late=40 * MS):
    """Images and CameraInfo of the camera front at 10 Hz, recorded `late` after their time."""
    messages = []
    for number in range(count):
        time = START + number * 100 * MS
        messages.append(("/front/image_raw", IMAGE, time + late, image_of(time)))
        messages.append(("/front/camera_info", INFO, time + 10 * MS, info_of(time)))
    return messages
