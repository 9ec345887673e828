"""Labelled clouds as files that other programs open: PLY and LAS, by the ending of the name."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmdfusion_ros.class_map import ClassMap

SUFFIXES = (".ply", ".las")
_LAS_SCALE = 0.001  # metres
# Class of street -> ASPRS' standard class (LAS 1.4 R15, table 17), which viewers colour by; others
# are 0, never classified. The label itself is in the point source id.
_ASPRS = {"road": 11, "sidewalk": 2, "terrain": 2, "vegetation": 5, "building": 6}


@dataclass(frozen=True, eq=False)
class LabelledPoints:
    """Points with labels.

    Attributes:
        points: (N, 3) float64, metres. intensity: (N,) float32 in [0, 1].
        labels: (N,) uint8 of `class_map`. confidence: (N,) float32 in [0, 1].
    """

    points: np.ndarray
    intensity: np.ndarray
    labels: np.ndarray
    confidence: np.ndarray
    class_map: ClassMap

    def __post_init__(self) -> None:
        for name in ("intensity", "labels", "confidence"):
            if len(getattr(self, name)) != len(self.points):
                raise ValueError(f"cloud: expected {len(self.points)} of {name}, one a point")


def write_cloud(path: str | Path, cloud: LabelledPoints) -> None:
    """Write a cloud as .ply (binary: x y z double, intensity, red green blue, label = the raw id of
    the class map, confidence) or .las (1.2, format 2: millimetres, colours, ASPRS classes, the raw
    id as point source id).

    Raises:
        ValueError: another ending; for .las, points over 2,147 km apart.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: expected a name that ends in {' or '.join(SUFFIXES)}")
    content = _ply(cloud) if path.suffix == ".ply" else _las(cloud)
    path.write_bytes(content)


def _ply(cloud: LabelledPoints) -> bytes:
    fields = [("x", "<f8"), ("y", "<f8"), ("z", "<f8"), ("intensity", "<f4"), ("red", "u1"),
              ("green", "u1"), ("blue", "u1"), ("label", "<u2"), ("confidence", "<f4")]  # fmt: skip
    names = {"<f8": "double", "<f4": "float", "u1": "uchar", "<u2": "ushort"}
    rows = np.zeros(len(cloud.points), np.dtype(fields))
    rows["x"], rows["y"], rows["z"] = cloud.points.T
    rows["intensity"], rows["confidence"] = cloud.intensity, cloud.confidence
    rows["red"], rows["green"], rows["blue"] = cloud.class_map.colors_from_labels(cloud.labels).T
    rows["label"] = cloud.class_map.raw_from_labels(cloud.labels)
    classes = [f"comment label {each.raw} {each.name}" for each in cloud.class_map.classes]
    header = [
        "ply",
        "format binary_little_endian 1.0",
        *classes,
        f"element vertex {len(rows)}",
        *(f"property {names[kind]} {name}" for name, kind in fields),
        "end_header",
    ]
    return ("\n".join(header) + "\n").encode() + rows.tobytes()


def _las(cloud: LabelledPoints) -> bytes:
    """LAS 1.2 (ASPRS, 2008): a header of 227 bytes, then points of format 2, 26 bytes each."""
    points = cloud.points
    offset = np.floor(points.min(0)) if len(points) else np.zeros(3)
    whole = np.round((points - offset) / _LAS_SCALE)
    if len(whole) and whole.max() >= 2**31:
        raise ValueError("las: points lie over 2,147 km apart; are the poses right?")
    names = ("x y z intensity returns class angle user source red green blue").split()
    kinds = ("<i4 <i4 <i4 <u2 u1 u1 i1 u1 <u2 <u2 <u2 <u2").split()
    rows = np.zeros(len(points), np.dtype(list(zip(names, kinds, strict=True))))
    rows["x"], rows["y"], rows["z"] = whole.T
    rows["intensity"] = np.round(np.clip(cloud.intensity, 0, 1) * 65535)
    rows["returns"] = 0b00001001  # the first of one return
    classes = np.zeros(256, np.uint8)
    for label, each in enumerate(cloud.class_map.classes):
        classes[label] = _ASPRS.get(each.name, 0)
    rows["class"] = classes[cloud.labels]
    rows["user"] = np.round(255 * np.clip(cloud.confidence, 0, 1))
    rows["source"] = cloud.class_map.raw_from_labels(cloud.labels)
    colours = cloud.class_map.colors_from_labels(cloud.labels).astype(np.uint16) * 257
    rows["red"], rows["green"], rows["blue"] = colours.T
    header = np.zeros(1, _LAS_HEADER)
    header["signature"], header["major"], header["minor"] = b"LASF", 1, 2
    header["system"], header["software"] = b"cmdfusion_ros", b"cmdfusion map"
    header["header_size"], header["offset_to_points"] = 227, 227
    header["format"], header["record_length"], header["num_points"] = 2, 26, len(points)
    header["by_return"][0, 0] = len(points)
    header["scale"], header["offset"] = _LAS_SCALE, offset
    if len(points):
        low, high = (offset + _LAS_SCALE * each for each in (whole.min(0), whole.max(0)))
        header["bounds"] = np.column_stack([high, low]).reshape(-1)  # max x, min x, max y, ...
    return header.tobytes() + rows.tobytes()


_LAS_HEADER = np.dtype(
    [
        ("signature", "S4"), ("source_id", "<u2"), ("encoding", "<u2"), ("guid", "V16"),
        ("major", "u1"), ("minor", "u1"), ("system", "S32"), ("software", "S32"),
        ("day", "<u2"), ("year", "<u2"), ("header_size", "<u2"), ("offset_to_points", "<u4"),
        ("num_records", "<u4"), ("format", "u1"), ("record_length", "<u2"), ("num_points", "<u4"),
        ("by_return", "<u4", 5), ("scale", "<f8", 3), ("offset", "<f8", 3), ("bounds", "<f8", 6),
    ]
)  # fmt: skip
