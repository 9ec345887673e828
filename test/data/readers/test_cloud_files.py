"""Cloud files of every kind that people bring, written here byte by byte."""

import struct

import numpy as np
import pytest

from cmdfusion_ros.data.bags.bag import Bag
from cmdfusion_ros.data.readers.cloud_files import cloud_files, read_cloud_file, write_cloud_bag
from cmdfusion_ros.messages.clouds import read_cloud

POINTS = np.array([[1.5, 2.0, -1.0], [3.0, 4.5, 0.25]], np.float32)
INTENSITY = np.array([10.0, 200.0], np.float32)


def write_bin(path):
    np.c_[POINTS, INTENSITY].astype("<f4").tofile(path)


def write_nuscenes_bin(path):
    np.c_[POINTS, INTENSITY, (0, 1)].astype("<f4").tofile(path)


def pcd_header(data, sizes="4 4 4 4", kinds="F F F F", fields="x y z intensity"):
    return (
        f"# .PCD v0.7\nVERSION 0.7\nFIELDS {fields}\nSIZE {sizes}\nTYPE {kinds}\nCOUNT 1 1 1 1\n"
        f"WIDTH 2\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 2\nDATA {data}\n"
    ).encode()


def write_ascii_pcd(path):
    rows = "\n".join(" ".join(map(str, row)) for row in np.c_[POINTS, INTENSITY])
    path.write_bytes(pcd_header("ascii") + rows.encode() + b"\n")


def write_binary_pcd(path):
    path.write_bytes(pcd_header("binary") + np.c_[POINTS, INTENSITY].astype("<f4").tobytes())


def write_ply(path, order="little"):
    head = (
        f"ply\nformat binary_{order}_endian 1.0\ncomment by hand\nelement vertex 2\n"
        "property float x\nproperty float y\nproperty float z\nproperty float intensity\n"
        "element face 0\nproperty list uchar int vertex_indices\nend_header\n"
    )
    kind = "<f4" if order == "little" else ">f4"
    path.write_bytes(head.encode() + np.c_[POINTS, INTENSITY].astype(kind).tobytes())


def write_big_endian_ply(path):
    write_ply(path, "big")


def write_ascii_ply(path):
    head = "ply\nformat ascii 1.0\nelement vertex 2\n" + "".join(
        f"property float {name}\n" for name in ("x", "y", "z", "intensity")
    )
    rows = "\n".join(" ".join(map(str, row)) for row in np.c_[POINTS, INTENSITY])
    path.write_text(f"{head}end_header\n{rows}\n")


def write_las(path):
    head = bytearray(227)
    head[:4], head[24], head[25] = b"LASF", 1, 2
    struct.pack_into("<HI", head, 94, 227, 227)
    struct.pack_into("<BHI", head, 104, 0, 20, 2)
    struct.pack_into("<3d", head, 131, 0.25, 0.25, 0.25)
    body = b"".join(
        struct.pack("<3iH6x", *(int(4 * v) for v in point), int(value))
        for point, value in zip(POINTS, INTENSITY, strict=True)
    )
    path.write_bytes(bytes(head) + body)


WRITERS = {
    "a.bin": write_bin,
    "a.pcd.bin": write_nuscenes_bin,
    "ascii.pcd": write_ascii_pcd,
    "binary.pcd": write_binary_pcd,
    "a.ply": write_ply,
    "big.ply": write_big_endian_ply,
    "ascii.ply": write_ascii_ply,
    "a.las": write_las,
}


@pytest.mark.parametrize("name", WRITERS)
def test_points_and_intensity_are_those_of_the_file(tmp_path, name):
    WRITERS[name](tmp_path / name)
    points, intensity = read_cloud_file(tmp_path / name)
    np.testing.assert_array_equal(points, POINTS)
    np.testing.assert_array_equal(intensity, INTENSITY)


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_is_cut_off_is_named(tmp_path, name):
    WRITERS[name](tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) - 7])
    with pytest.raises(ValueError, match=name):
        read_cloud_file(tmp_path / name)


def test_compressed_files_say_what_unpacks_them(tmp_path):
    (tmp_path / "a.pcd").write_bytes(pcd_header("binary_compressed"))
    with pytest.raises(ValueError, match="pcl_convert_pcd_ascii_binary"):
        read_cloud_file(tmp_path / "a.pcd")
    write_las(tmp_path / "a.las")
    raw = bytearray((tmp_path / "a.las").read_bytes())
    raw[104] |= 0x80
    (tmp_path / "a.las").write_bytes(raw)
    with pytest.raises(ValueError, match="laszip"):
        read_cloud_file(tmp_path / "a.las")


def test_a_folder_is_a_sequence_in_order_of_names_and_becomes_a_bag(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("000001.bin", "000000.bin"):
        write_bin(folder / name)
    (folder / "readme.txt").write_text("no cloud")
    files = cloud_files(folder)
    assert [file.name for file in files] == ["000000.bin", "000001.bin"]
    assert write_cloud_bag(tmp_path / "bag", files) == 2
    with Bag(tmp_path / "bag") as bag:
        clouds = [read_cloud(bag.deserialize(message)) for message in bag.messages()]
    assert clouds[1].stamp - clouds[0].stamp == 100_000_000
    np.testing.assert_array_equal(clouds[0].points, POINTS)


def test_a_bag_is_no_cloud_file(tmp_path):
    (tmp_path / "a.mcap").write_bytes(b"")
    assert cloud_files(tmp_path / "a.mcap") == [] and cloud_files(tmp_path) == []


@pytest.mark.parametrize("points", [400, 4000, 4004])
def test_five_columns_are_told_by_the_numbers_of_the_beams_whatever_the_name(tmp_path, points):
    """34,688 x 5 numbers, as a scan of nuScenes has, are also 43,360 x 4."""
    rng = np.random.default_rng(0)
    five = np.c_[rng.normal(0, 20, (points, 3)), rng.uniform(0, 255, points)]
    five = np.c_[five, rng.integers(0, 32, points)].astype("<f4")
    five.tofile(tmp_path / "lidar.bin")
    read, _ = read_cloud_file(tmp_path / "lidar.bin")
    np.testing.assert_array_equal(read, five[:, :3])
    four = five[:, :4].copy()
    four[:, 3] /= 255
    four.tofile(tmp_path / "kitti.bin")
    read, _ = read_cloud_file(tmp_path / "kitti.bin")
    np.testing.assert_array_equal(read, four[:, :3])
