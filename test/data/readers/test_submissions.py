"""Submissions: what is written passes the rules of the benchmark, and every way to break them is
named.
"""

import json
import zipfile

import numpy as np
import pytest

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.data.readers.submissions import (
    NuScenesFolder,
    SemanticKittiArchive,
    SubmissionError,
    check_nuscenes,
    check_semantic_kitti,
)

KITTI, NUSCENES = load_class_map("semantic_kitti"), load_class_map("nuscenes")
SCANS = {("11", "000000"): 19, ("12", "000003"): 40}
TOKENS = {"aa11": 16, "bb22": 30}


def write_kitti(path, scans=SCANS):
    with SemanticKittiArchive(path, KITTI) as archive:
        for (sequence, stem), number in scans.items():
            archive.add(
                f"semantic_kitti/{sequence}/{stem}", (np.arange(number) % 19).astype(np.uint8)
            )
    return path


def write_nuscenes(path):
    with NuScenesFolder(path, "test", NUSCENES, use_camera=False, use_external=True) as folder:
        for token, number in TOKENS.items():
            folder.add(f"nuscenes/scene-0077/{token}", (np.arange(number) % 16).astype(np.uint8))
    return path


def test_an_archive_holds_raw_ids_and_passes(tmp_path):
    path = write_kitti(tmp_path / "out.zip")
    check_semantic_kitti(path, SCANS, KITTI)
    with zipfile.ZipFile(path) as archive:
        raw = np.frombuffer(archive.read("sequences/11/predictions/000000.label"), "<u4")
    # the benchmark's learning_map_inv, ids 1..19
    ids = "10 11 15 18 20 30 31 32 40 44 48 49 50 51 70 71 72 80 81"
    assert raw.tolist() == [int(each) for each in ids.split()]


def test_a_folder_holds_ids_of_1_to_16_and_passes(tmp_path):
    path = write_nuscenes(tmp_path / "out")
    check_nuscenes(path, "test", TOKENS)
    assert np.fromfile(path / "lidarseg/test/aa11_lidarseg.bin", np.uint8).tolist() == list(
        range(1, 17)
    )
    meta = json.loads((path / "test/submission.json").read_text())["meta"]
    assert meta == {
        "use_camera": False,
        "use_lidar": True,
        "use_radar": False,
        "use_map": False,
        "use_external": True,
    }


def test_an_archive_that_breaks_a_rule_is_refused(tmp_path):
    path = write_kitti(tmp_path / "out.zip")
    with pytest.raises(
        SubmissionError, match="misses 1 of 3 files: sequences/21/predictions/000000.label"
    ):
        check_semantic_kitti(path, {**SCANS, ("21", "000000"): 3}, KITTI)
    with pytest.raises(SubmissionError, match="has, but should not, 1 of 1 files: sequences/12"):
        check_semantic_kitti(path, {("11", "000000"): 19}, KITTI)
    with pytest.raises(
        SubmissionError, match="000000.label: expected 20 labels of 4 bytes, got 76 bytes"
    ):
        check_semantic_kitti(path, {**SCANS, ("11", "000000"): 20}, KITTI)
    with SemanticKittiArchive(tmp_path / "ignored.zip", KITTI) as archive:
        archive.add("semantic_kitti/11/000000", np.array([0, 255], np.uint8))
    with pytest.raises(SubmissionError, match=r"ids \[0\] are no classes"):
        check_semantic_kitti(tmp_path / "ignored.zip", {("11", "000000"): 2}, KITTI)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("predictions/readme.md", "x")
    with pytest.raises(SubmissionError, match="predictions/readme.md has no place in it"):
        check_semantic_kitti(path, SCANS, KITTI)
    (tmp_path / "no.zip").write_bytes(b"no zip")
    with pytest.raises(SubmissionError, match="not a zip archive"):
        check_semantic_kitti(tmp_path / "no.zip", SCANS, KITTI)


def test_a_folder_that_breaks_a_rule_is_refused(tmp_path):
    path = write_nuscenes(tmp_path / "out")
    with pytest.raises(SubmissionError, match="misses 1 of 3 files: cc33_lidarseg.bin"):
        check_nuscenes(path, "test", {**TOKENS, "cc33": 1})
    with pytest.raises(
        SubmissionError, match="aa11_lidarseg.bin: expected 17 labels of 1 byte, got 16"
    ):
        check_nuscenes(path, "test", {**TOKENS, "aa11": 17})
    np.zeros(16, np.uint8).tofile(path / "lidarseg/test/aa11_lidarseg.bin")
    with pytest.raises(SubmissionError, match=r"ids \[0\] are no classes"):
        check_nuscenes(path, "test", TOKENS)
    (path / "test/submission.json").write_text('{"meta": {"use_camera": "no"}}')
    with pytest.raises(SubmissionError, match="expected true or false for each of use_camera"):
        check_nuscenes(path, "test", TOKENS)
    (path / "test/submission.json").write_text("{")
    with pytest.raises(SubmissionError, match="not readable as JSON"):
        check_nuscenes(path, "test", TOKENS)
    with pytest.raises(SubmissionError, match="submission.json: is missing"):
        check_nuscenes(path, "val", TOKENS)


def test_other_classes_are_refused(tmp_path):
    street = load_class_map("street")
    with pytest.raises(
        SubmissionError,
        match="knows the classes of street; this benchmark wants those of semantic_kitti",
    ):
        SemanticKittiArchive(tmp_path / "out.zip", street)
    with pytest.raises(SubmissionError, match="this benchmark wants those of nuscenes"):
        NuScenesFolder(tmp_path / "out", "val", street, False, False)
