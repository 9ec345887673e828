"""PLY and LAS files hold the points as they were, to the millimetre."""

import struct

import numpy as np
import pytest

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.data.point_files import LabelledPoints, write_cloud

STREET = load_class_map("street")


def cloud(points=((1.5, -2.25, 0.125), (1e3, 2e3, -3.0))) -> LabelledPoints:
    points = np.array(points, np.float64).reshape(-1, 3)
    number = len(points)
    labels = np.array([STREET.label("building"), 255], np.uint8)[:number]
    return LabelledPoints(
        points, np.array([0.5, 1.0], np.float32)[:number], labels,
        np.array([0.75, 0.0], np.float32)[:number], STREET,
    )  # fmt: skip


def test_a_las_file_reads_as_the_standard_says(tmp_path):
    write_cloud(tmp_path / "map.las", cloud())
    content = (tmp_path / "map.las").read_bytes()
    assert content[:4] == b"LASF" and len(content) == 227 + 2 * 26
    assert content[24:26] == bytes([1, 2])  # version 1.2
    size, start, _, kind, length, number = struct.unpack_from("<HIIBHI", content, 94)
    assert (size, start, kind, length, number) == (227, 227, 2, 26, 2)
    scale, offset = struct.unpack_from("<3d", content, 131), struct.unpack_from("<3d", content, 155)
    bounds = struct.unpack_from("<6d", content, 179)
    assert bounds == pytest.approx((1000, 1.5, 2000, -2.25, 0.125, -3.0))
    x, y, z, intensity = struct.unpack_from("<iiiH", content, 227)
    found = np.array([x, y, z]) * scale + offset
    np.testing.assert_allclose(found, [1.5, -2.25, 0.125], atol=1e-6)
    assert intensity == 32768 and content[227 + 15] == 6  # building
    assert struct.unpack_from("<H", content, 227 + 18)[0] == 5  # raw id of building in street
    colour = struct.unpack_from("<3H", content, 227 + 20)
    assert tuple(c // 257 for c in colour) == STREET.classes[STREET.label("building")].color


def test_an_empty_cloud_and_wrong_names(tmp_path):
    empty = LabelledPoints(
        np.zeros((0, 3)), *(np.zeros(0, kind) for kind in ("f4", "u1", "f4")), STREET
    )
    for name in ("map.las", "map.ply"):
        write_cloud(tmp_path / name, empty)
    assert len((tmp_path / "map.las").read_bytes()) == 227
    assert b"element vertex 0" in (tmp_path / "map.ply").read_bytes()
    with pytest.raises(ValueError, match="ends in .ply or .las"):
        write_cloud(tmp_path / "map.pcd", empty)
    with pytest.raises(ValueError, match="over 2,147 km apart"):
        write_cloud(tmp_path / "far.las", cloud([[0, 0, 0], [3e6, 0, 0]]))
    with pytest.raises(ValueError, match="expected 1 of labels"):
        LabelledPoints(np.zeros((1, 3)), np.zeros(1), np.zeros(2, np.uint8), np.zeros(1), STREET)
