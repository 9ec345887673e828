"""Which scans a recipe reads: by name, or all that are there."""

import pytest
from builders import nuscenes_layout

from cmdfusion_ros.data.bags.frame_bag import labels_path
from cmdfusion_ros.data.readers.data_settings import DataSettings, all_sequences


def folders(root, *names):
    for name in names:
        (root / name).mkdir(parents=True)
    return root


def test_all_sequences_are_the_folders_that_hold_scans(tmp_path):
    root = folders(
        tmp_path, "sequences/10/velodyne", "sequences/02/velodyne", "sequences/03/image_2"
    )
    assert all_sequences(root, "semantic_kitti") == ("02", "10")
    assert all_sequences(root / "sequences", "semantic_kitti") == ("02", "10")
    root = folders(tmp_path / "panda", "001/lidar", "002/camera")
    assert all_sequences(root, "pandaset") == ("001",)


def test_all_bags_are_those_with_labels(small_bag, tmp_path):
    (tmp_path / small_bag.name).symlink_to(small_bag)
    (tmp_path / labels_path(small_bag).name).symlink_to(labels_path(small_bag))
    folders(tmp_path, "without_labels")
    assert all_sequences(tmp_path, "bags") == (small_bag.name,)
    from cmdfusion_ros.class_map import load_class_map

    settings = DataSettings(layout="bags", dataset="street", sequences=("all",))
    assert len(settings.open(tmp_path, load_class_map("street"))) == 8


def test_none_and_nuscenes_are_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="no sequence of the layout semantic_kitti"):
        all_sequences(tmp_path, "semantic_kitti")
    nuscenes_layout.write_nuscenes(tmp_path)
    with pytest.raises(ValueError, match="name train, val or scenes"):
        all_sequences(tmp_path, "nuscenes")
