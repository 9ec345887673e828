"""Point clouds as files: .pcd (ascii, binary), .ply, .las and .bin (KITTI, nuScenes). A folder of
them is a sequence, in order of names.
"""

import re
import struct
from pathlib import Path

import numpy as np

from cmdfusion_ros.data.bags.bag import BagWriter, ros2_types

SUFFIXES = (".pcd", ".ply", ".las", ".bin")
_PERIOD_NS, _START_NS = 100_000_000, 1_700_000_000_000_000_000  # files have no time: 10 Hz
_INTENSITY = ("intensity", "scalar_intensity", "reflectivity", "reflectance", "remission", "i")
_MANY = 100  # points from which on numbers that are all whole are no chance
# what a damaged header leads to, beside ValueError
_UNREADABLE = (
    *(ValueError, TypeError, LookupError, StopIteration, struct.error),
    *(OverflowError, MemoryError, FloatingPointError, AttributeError),
)
_PLY_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"float": "f4", "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2"},
    **{"int32": "i4", "uint32": "u4", "float32": "f4", "float64": "f8"},
}


def cloud_files(path: str | Path) -> list[Path]:
    """The cloud files that a path names: itself, or those of a folder in order of names; [] where
    there are none, as for a bag.
    """
    path = Path(path)
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
    return [path] if path.is_file() and path.suffix.lower() in SUFFIXES else []


def read_cloud_file(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """((N, 3) float32 points, (N,) float32 intensity in the file's own scale, 0 where it has none)
    of one file. Coordinates of a .las file begin at its corner: float32 cannot hold UTM ones.

    Raises:
        ValueError: it is not what its name says, is cut off, or compressed.
    """
    path = Path(path)
    readers = {".pcd": _read_pcd, ".ply": _read_ply, ".las": _read_las, ".bin": _read_bin}
    try:
        columns = readers[path.suffix.lower()](path, path.read_bytes())
        points = np.stack([columns[axis] for axis in "xyz"], axis=1).astype(np.float32)
    except _UNREADABLE as error:
        raise ValueError(f"{path}: not readable as {path.suffix}: {error}") from error
    name = next((name for name in _INTENSITY if name in columns), None)
    intensity = np.zeros(len(points)) if name is None else columns[name]
    return points, np.asarray(intensity, np.float32)


def write_cloud_bag(out: str | Path, files: list[Path], topic: str = "/points") -> int:
    """Write files as the clouds of a bag, 0.1 s apart, frame "lidar"; returns their number."""
    types = ros2_types().types
    field = types["sensor_msgs/msg/PointField"]
    fields = [field(name, 4 * i, 7, 1) for i, name in enumerate(("x", "y", "z", "intensity"))]
    with BagWriter(out) as writer:
        for number, file in enumerate(files):
            points, intensity = read_cloud_file(file)
            data = np.frombuffer(np.c_[points, intensity].astype("<f4").tobytes(), np.uint8)
            stamp = _START_NS + number * _PERIOD_NS
            time = types["builtin_interfaces/msg/Time"](*divmod(stamp, 1_000_000_000))
            header = types["std_msgs/msg/Header"](time, "lidar")
            size = len(points)
            cloud = types["sensor_msgs/msg/PointCloud2"](
                header, 1, size, fields, False, 16, 16 * size, data, False
            )
            kind = "sensor_msgs/msg/PointCloud2"
            writer.write(topic, kind, stamp, writer.serialize(cloud, kind))
    return len(files)


def _read_bin(path, raw):
    wide = path.name.endswith(".pcd.bin") or len(raw) % 16 or _has_rings(raw)
    columns = 5 if wide else 4
    if len(raw) % (4 * columns):
        raise ValueError(f"expected float32 x y z intensity (and ring), got {len(raw)} bytes")
    values = np.frombuffer(raw, "<f4").reshape(-1, columns)
    return dict(zip(("x", "y", "z", "intensity"), values.T, strict=False))


def _has_rings(raw):
    """Whether every fifth number of many is the number of a beam, as in nuScenes' files: of a file
    with four columns it would be x, y, z and intensity in turn.
    """
    if len(raw) % 20 or len(raw) < 20 * _MANY:
        return False
    rings = np.frombuffer(raw, "<f4")[4::5]
    return bool(((rings >= 0) & (rings < 1024) & (rings == np.floor(rings))).all() and rings.any())


def _read_pcd(path, raw):
    start = re.search(rb"^DATA[ \t]+(\w+)[ \t\r]*\n", raw, re.MULTILINE)
    if start is None:
        raise ValueError("expected a header that ends with DATA")
    lines = raw[: start.start()].decode("ascii").splitlines()
    head = {line.split()[0].upper(): line.split()[1:] for line in lines if line.split()}
    names = head["FIELDS"]
    counts = [int(count) for count in head.get("COUNT", ["1"] * len(names))]
    kinds = {"F": "f", "I": "i", "U": "u"}
    formats = [kinds[t] + s for t, s in zip(head["TYPE"], head["SIZE"], strict=True)]
    number, body, how = int(head["POINTS"][0]), raw[start.end() :], start[1].decode()
    if how == "ascii":
        rows = np.array(body.split(), np.float64).reshape(-1, sum(counts))
        places = np.cumsum([0, *counts[:-1]])
        return {name: rows[:number, place] for name, place in zip(names, places, strict=True)}
    if how != "binary":
        raise ValueError(f"DATA {how}: write it as binary (pcl_convert_pcd_ascii_binary IN OUT 1)")
    dtype = np.dtype(
        [
            (f"{name}.{place}" if count != 1 or name == "_" else name, f"<{form}", (count,))
            for place, (name, form, count) in enumerate(zip(names, formats, counts, strict=True))
        ]
    )
    rows = np.frombuffer(body, dtype, number)
    return {name: rows[name][:, 0] for name in dtype.names}


def _read_ply(path, raw):
    end = raw.index(b"end_header")
    body = raw[raw.index(b"\n", end) + 1 :]
    lines = [line.split() for line in raw[:end].decode("ascii").splitlines() if line.split()]
    how = next(line[1] for line in lines if line[0] == "format")
    elements = [index for index, line in enumerate(lines) if line[0] == "element"]
    first = lines[elements[0]]
    if first[1] != "vertex":
        raise ValueError(f"expected the vertices first, got {first[1]}")
    own = lines[elements[0] + 1 : elements[1] if len(elements) > 1 else None]
    properties = [line for line in own if line[0] == "property"]
    number = int(first[2])
    if how == "ascii":
        rows = np.array(body.split()[: number * len(properties)], np.float64)
        rows = rows.reshape(number, len(properties))
        return {line[2]: rows[:, index] for index, line in enumerate(properties)}
    order = "<" if how == "binary_little_endian" else ">"
    dtype = np.dtype([(line[2], order + _PLY_TYPES[line[1]]) for line in properties])
    rows = np.frombuffer(body, dtype, number)
    return {name: rows[name] for name in dtype.names}


def _read_las(path, raw):
    if raw[:4] != b"LASF":
        raise ValueError("expected the bytes LASF at its start")
    (start,) = struct.unpack_from("<I", raw, 96)
    kind, length, number = struct.unpack_from("<BHI", raw, 104)
    if kind & 0x80:
        raise ValueError("it is compressed (LAZ); unpack it with laszip")
    if raw[25] >= 4 and not number:
        (number,) = struct.unpack_from("<Q", raw, 247)
    scale = np.array(struct.unpack_from("<3d", raw, 131))
    dtype = np.dtype(
        {
            "names": ["xyz", "intensity"],
            "formats": [("<i4", (3,)), "<u2"],
            "offsets": [0, 12],
            "itemsize": length,
        }
    )
    rows = np.frombuffer(raw, dtype, number, start)
    whole = rows["xyz"].astype(np.int64)
    offset = np.array(struct.unpack_from("<3d", raw, 155))
    if number and np.abs(whole * scale + offset).max() > 10_000:  # a map's: no sensor is near
        offset = np.zeros(3)
        if np.abs(whole * scale).max() > 10_000:
            whole = whole - whole.min(axis=0)
    points = whole * scale + offset
    return {**dict(zip("xyz", points.T, strict=True)), "intensity": rows["intensity"]}
