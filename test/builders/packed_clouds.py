"""PointCloud2 messages of every layout, packed byte by byte."""

import array
import struct
from types import SimpleNamespace

import numpy as np

from cmdfusion_ros.messages.clouds import (
    DTYPES,
)

TYPES = {name: number for number, name in DTYPES.items()}


XYZ = [("x", "f4"), ("y", "f4"), ("z", "f4")]


def header(seconds=12, nanoseconds=345, frame_id="lidar"):
    return SimpleNamespace(
        stamp=SimpleNamespace(sec=seconds, nanosec=nanoseconds), frame_id=frame_id
    )


def cloud_message(
    columns, names=tuple(XYZ), height=1, gap=0, row_padding=0, is_bigendian=False, **changes
):
    """A PointCloud2: `columns` {name: values} packed value by value in the order of `names`
    [(name, type)], `gap` bytes of rubbish after each field.
    """
    order = ">" if is_bigendian else "<"
    fields, offset = [], 0
    for name, kind in names:
        fields.append(SimpleNamespace(name=name, offset=offset, datatype=TYPES[kind], count=1))
        offset += np.dtype(kind).itemsize + gap
    num_points = len(next(iter(columns.values()))) if columns else 0
    codes = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "f4": "f", "f8": "d"}
    points = [
        b"".join(
            struct.pack(order + codes[kind], columns[name][row]) + b"\xee" * gap
            for name, kind in names
        )
        for row in range(num_points)
    ]
    width = num_points // max(height, 1)
    lines = [
        b"".join(points[line * width : (line + 1) * width]) + b"\xdd" * row_padding
        for line in range(height)
    ]
    message = {
        "header": header(),
        "height": height,
        "width": width,
        "fields": fields,
        "is_bigendian": is_bigendian,
        "is_dense": True,
        "point_step": offset,
        "row_step": offset * width + row_padding,
        "data": array.array("B", b"".join(lines)),
    }
    return SimpleNamespace(**{**message, **changes})


def some_points(num_points=12, seed=0):
    xyz = np.random.default_rng(seed).uniform(-50, 50, (num_points, 3)).astype(np.float32)
    return xyz, dict(zip("xyz", xyz.T.tolist(), strict=True))
