"""The doors for recordings: bags, and clouds as files."""

import struct
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from builders import bag_messages as bags
from fuzz.door import Door
from fuzz.files import with_words, written
from fuzz.mutate import mutate_bytes
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.data.bags.bag import Bag, ros2_types
from cmdfusion_ros.data.bags.bag_layout import inspect_bag
from cmdfusion_ros.data.point_files import LabelledPoints, write_cloud
from cmdfusion_ros.data.readers.cloud_files import read_cloud_file


def take_bag(name, data, folder):
    """Open a bag of one file, go through it, and find out what is in it."""
    path = written(data, folder, name)
    with Bag(path) as bag:
        for number, message in enumerate(bag.messages()):
            if number > 50:
                break
            try:
                bag.deserialize(message)
            except ValueError:
                continue
    inspect_bag(path)


def rosbag2_seeds(plugin, suffix):
    types = ros2_types()
    messages = [*bags.place("front"), *bags.clouds(2)]
    if plugin is StoragePlugin.MCAP:
        messages += bags.camera("front", 0, 2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bag"
        with Writer(path, version=9, storage_plugin=plugin) as writer:
            connections = {}
            for topic, msgtype, time, message in messages:
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, msgtype, typestore=types)
                writer.write(connections[topic], time, types.serialize_cdr(message, msgtype))
        return [next(path.glob(f"*{suffix}")).read_bytes()]


def rosbag1_seeds():
    types, found = get_typestore(Stores.ROS1_NOETIC), []
    header = types.types["std_msgs/msg/Header"]
    time = types.types["builtin_interfaces/msg/Time"]
    field = types.types["sensor_msgs/msg/PointField"]
    for compression in (None, Writer1.CompressionFormat.BZ2, Writer1.CompressionFormat.LZ4):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "robot.bag"
            writer = Writer1(path)
            if compression:
                writer.set_compression(compression)
            with writer:
                connection = writer.add_connection("/points", bags.CLOUD, typestore=types)
                for number in range(3):
                    fields = [field(name, 4 * place, 7, 1) for place, name in enumerate("xyz")]
                    message = types.types[bags.CLOUD](
                        header(number, time(1_700_000_000, number), "lidar"), 1, 2, fields, False,
                        12, 24, np.arange(24).astype(np.uint8), True,
                    )  # fmt: skip
                    data = types.serialize_ros1(message, bags.CLOUD)
                    writer.write(connection, bags.START + number, data)
            found.append(path.read_bytes())
    return found


BAG_WORDS = (b"\x89MCAP0\r\n", b"#ROSBAG V2.0\n", b"op=", b"conn=", b"time=", b"\x02", b"\x05",
             b"\x06", b"lz4", b"zstd", b"bz2", b"none", b"cdr", b"ros2msg", b"sensor_msgs/msg/",
             b"topic=", b"size=", b"chunk_count=", b"index_pos=", b"uint8[")  # fmt: skip


# ---- clouds


def take_cloud_file(name, data, folder):
    points, intensity = read_cloud_file(written(data, folder, name))
    assert points.shape == (len(intensity), 3)


def pcd_seeds():
    rows = np.arange(12.0, dtype="<f4")
    head = (
        "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\n"
        "COUNT 1 1 1 1\nWIDTH 3\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 3\nDATA {}\n"
    )
    text = "\n".join(" ".join(map(str, row)) for row in rows.reshape(3, 4)) + "\n"
    return [head.format("binary").encode() + rows.tobytes(), (head.format("ascii") + text).encode()]


def ply_seeds():
    rows = np.arange(12.0, dtype="<f4")
    head = "ply\nformat {} 1.0\ncomment x\nelement vertex 3\n" + "".join(
        f"property float {name}\n" for name in ("x", "y", "z", "intensity")
    )
    head += "element face 0\nproperty list uchar int vertex_indices\nend_header\n"
    text = "\n".join(" ".join(map(str, row)) for row in rows.reshape(3, 4)) + "\n"
    return [
        head.format("binary_little_endian").encode() + rows.tobytes(),
        head.format("binary_big_endian").encode() + rows.byteswap().tobytes(),
        (head.format("ascii") + text).encode(),
    ]


def las_seeds():
    cloud = LabelledPoints(
        np.arange(9.0).reshape(3, 3), np.full(3, 0.5, np.float32), np.zeros(3, np.uint8),
        np.ones(3, np.float32), load_class_map("street"),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        write_cloud(Path(folder) / "a.las", cloud)
        return [(Path(folder) / "a.las").read_bytes()]


def bin_seeds():
    return [np.arange(20.0, dtype="<f4").tobytes(), struct.pack("<5f", 1, 2, 3, 0.5, 7)]


PCD_WORDS = tuple(b"FIELDS SIZE TYPE COUNT WIDTH HEIGHT POINTS DATA F I U binary ascii _ x y z "
                  b"0 -1 binary_compressed 1e9 99999999999 nan inf 8 16".split())  # fmt: skip
PLY_WORDS = tuple(b"ply format element vertex face property list float double uchar int "
                  b"end_header binary_little_endian ascii 0 -1 nan x".split())  # fmt: skip


_OF_FILES = (ValueError, OSError)

RECORDING_DOORS = [
    Door("mcap", partial(take_bag, "bag.mcap"), _OF_FILES,
         partial(rosbag2_seeds, StoragePlugin.MCAP, ".mcap"), with_words(BAG_WORDS), 0.5),
    Door("sqlite", partial(take_bag, "bag.db3"), _OF_FILES,
         partial(rosbag2_seeds, StoragePlugin.SQLITE3, ".db3"), with_words(BAG_WORDS), 0.3),
    Door("rosbag1", partial(take_bag, "robot.bag"), _OF_FILES, rosbag1_seeds, with_words(BAG_WORDS),
         0.3),
    Door("pcd", partial(take_cloud_file, "a.pcd"), (ValueError,), pcd_seeds, with_words(PCD_WORDS)),
    Door("ply", partial(take_cloud_file, "a.ply"), (ValueError,), ply_seeds, with_words(PLY_WORDS)),
    Door("las", partial(take_cloud_file, "a.las"), (ValueError,), las_seeds, mutate_bytes),
    Door("bin", partial(take_cloud_file, "a.bin"), (ValueError,), bin_seeds, mutate_bytes, 0.3),
]  # fmt: skip
