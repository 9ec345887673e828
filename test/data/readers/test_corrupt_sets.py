"""Data sets whose files are damaged at random: what is read is either sound or an error that names
a file of the set; nothing is labelled by default.

Every kind of damage that a disk, a download or a hand makes: cut short, longer, emptied, bytes
changed, numbers made NaN, taken away.
"""

import shutil

import cv2
import numpy as np
import pytest
from builders import nuscenes_layout

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.data.readers.nuscenes import NuScenes
from cmdfusion_ros.data.readers.semantic_kitti import SemanticKitti
from cmdfusion_ros.frame import IGNORE_LABEL

NUM_CASES = 100


def write_kitti(root):
    folder = root / "sequences" / "00"
    for name in ("velodyne", "labels", "image_2"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    np.c_[rng.normal(0, 5, (50, 3)), rng.random(50)].astype("<f4").tofile(
        folder / "velodyne/000000.bin"
    )
    np.repeat(np.array([40, 10 | 3 << 16], "<u4"), 25).tofile(folder / "labels/000000.label")
    cv2.imwrite(str(folder / "image_2/000000.png"), rng.integers(0, 256, (24, 40, 3), np.uint8))
    (folder / "calib.txt").write_text(
        "P2: 30 0 20 0 0 30 12 0 0 0 1 0\nTr: 0 -1 0 0 0 0 -1 0 1 0 0 0\n"
    )
    (folder / "poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n")
    (folder / "times.txt").write_text("0.1\n")


def damage(path, rng):
    """One of the ways to damage a file."""
    content = path.read_bytes()
    kind = rng.integers(7)
    if kind == 0:
        path.unlink()
    elif kind == 1:
        path.write_bytes(content[: rng.integers(0, len(content))])
    elif kind == 2:
        path.write_bytes(content + bytes(rng.integers(0, 256, rng.integers(1, 50), np.uint8)))
    elif kind == 3:
        path.write_bytes(b"")
    elif kind == 4:
        changed = bytearray(content)
        for place in rng.integers(0, len(content), 1 + len(content) // 20):
            changed[place] = rng.integers(256)
        path.write_bytes(bytes(changed))
    elif kind == 5 and path.suffix in (".txt", ".json"):
        words = path.read_text().split(" ")
        words[rng.integers(len(words))] = rng.choice(["nan", "NaN", "inf", "x", "", "1e999"])
        path.write_text(" ".join(words))
    elif path.suffix in (".png", ".jpg"):
        cv2.imwrite(
            str(path), np.zeros((int(rng.integers(1, 9)), int(rng.integers(1, 9)), 3), np.uint8)
        )
    else:
        whole = np.frombuffer(content[: len(content) // 4 * 4], "<f4").copy()
        whole[rng.integers(len(whole))] = rng.choice([np.nan, np.inf, 1e30])
        path.write_bytes(whole.tobytes())


def read_all(layout, root):
    if layout == "kitti":
        return list(SemanticKitti(root, ["00"], load_class_map("semantic_kitti"), images=True))
    return list(NuScenes(root, ["test"], load_class_map("nuscenes"), images=True))


@pytest.mark.parametrize("layout", ["kitti", "nuscenes"])
def test_damage_is_named_or_harmless(layout, tmp_path):
    whole = tmp_path / "whole"
    if layout == "kitti":
        write_kitti(whole)
    else:
        nuscenes_layout.write_nuscenes(
            whole, scenes=("scene-0001",), key_frames=1, version="v1.0-test"
        )
    truth = [frame.labels for frame in read_all(layout, whole)]
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    refused = 0
    for case in range(NUM_CASES):
        rng = np.random.default_rng([case, len(layout)])
        root = tmp_path / "damaged"
        shutil.copytree(whole, root)
        path = files[rng.integers(len(files))]
        damage(root / path, rng)
        try:
            frames = read_all(layout, root)
        except (ValueError, FileNotFoundError) as error:
            refused += 1
            assert str(root) in str(error) or "camera " in str(error) or "frame " in str(error), (
                f"case {case}, {path}: {error!r} names no file"
            )
        else:
            for frame, labels in zip(frames, truth, strict=False):
                assert np.isfinite(frame.points).all() and len(frame.labels) == len(frame.points)
                if (
                    "label" not in str(path)
                    and "lidarseg" not in str(path)
                    and len(labels) == len(frame.labels)
                ):
                    np.testing.assert_array_equal(frame.labels, labels)
                assert (
                    (frame.labels != IGNORE_LABEL).all()
                    or "label" in str(path)
                    or "lidarseg" in str(path)
                )
        shutil.rmtree(root)
    assert refused > NUM_CASES / 2
