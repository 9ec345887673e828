"""Streets without end: which scan comes when, the same whoever draws it, and a folder that stays
small.
"""

import multiprocessing
from dataclasses import replace

import numpy as np
import pytest

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.config import SettingsError
from cmdfusion_ros.data.readers.data_settings import DataSettings, Mixture
from cmdfusion_ros.data.synthetic import stream as stream_module
from cmdfusion_ros.data.synthetic.sequence import Sequence, SequenceSettings
from cmdfusion_ros.data.synthetic.stream import StreamSettings, StreetStream
from cmdfusion_ros.data.synthetic.world import WorldSettings

STREET = load_class_map("street")
DRIVE = SequenceSettings(
    rig="demo",
    image_scale=0.1,
    weather="overcast",
    world=WorldSettings(speed=0.1, place="country", rare=0.0, traffic=0.0),
)
SMALL = StreamSettings(seed=3, scans=4, per_street=2, reuse=2, kept=12, processes=0, drive=DRIVE)


@pytest.fixture
def quick(monkeypatch):
    """Draws files with the street's number only; for what does not look into them."""

    def draw(folder, settings, street, images):
        for index in range(settings.per_street):
            arrays = {
                "points": np.full((5, 3), street, np.float32),
                "intensity": np.zeros(5, np.float32),
                "raw": np.full(5, 40, np.uint16),
                "instance_ids": np.zeros(5, np.uint16),
                "stamp": np.int64(index),
                "world_from_lidar": np.eye(4),
                "cameras": np.int64(0),
            }
            np.savez(stream_module.Path(folder) / f"{street}_{index}.npz", **arrays)
        return settings.per_street

    monkeypatch.setattr(stream_module, "draw_street", draw)


def streets_of(settings, epoch):
    return [settings.street_of(epoch, slot) for slot in range(settings.streets)]


def test_a_street_stays_for_its_rounds_and_never_comes_back():
    settings = replace(SMALL, scans=8, reuse=3, kept=100)
    rounds = [streets_of(settings, epoch) for epoch in range(12)]
    assert rounds[:4] == [[0, 1, 2, 3], [0, 1, 6, 3], [0, 5, 6, 3], [4, 5, 6, 7]]
    for street in range(4, 12):
        having = [epoch for epoch, streets in enumerate(rounds) if street in streets]
        assert having == list(settings.rounds_of(street)) and len(having) == 3
    for epoch in range(1, 12):
        assert settings.new_in(epoch) == sorted(set(rounds[epoch]) - set(rounds[epoch - 1]))


def test_a_scan_is_that_of_the_drive_with_its_number_and_is_read_again_equal(tmp_path):
    stream = StreetStream(tmp_path, SMALL, STREET, called="made_up")
    frame = stream.scan(2, 3)  # the second round of generation 1: street 3, its scan 1
    drive = Sequence(3, "street 3", 2, DRIVE)
    expected = drive.frame(1, STREET, cameras=())
    for name in ("points", "intensity", "labels", "instance_ids", "world_from_lidar"):
        assert np.array_equal(getattr(frame, name), getattr(expected, name)), name
    assert frame.name == "made_up/3_1" and frame.stamp == drive.stamp(1) and frame.views == ()
    again = StreetStream(tmp_path, SMALL, STREET).scan(2, 3)
    assert np.array_equal(again.points, frame.points)
    assert stream.names == ("made_up/seed 3",)


def test_pictures_come_with_it_where_asked_for(tmp_path):
    drive = replace(DRIVE, rig="nuscenes", image_scale=0.02)
    stream = StreetStream(tmp_path, replace(SMALL, drive=drive), STREET, images=True)
    expected = Sequence(3, "street 0", 2, drive).frame(1, STREET)
    for view, other in zip(stream[1].views, expected.views, strict=True):
        assert view.name == other.name and view.stamp == other.stamp
        assert np.array_equal(view.image, other.image)
        assert np.array_equal(view.camera_from_lidar, other.camera_from_lidar)
    with pytest.raises(ValueError, match="rig demo: a stream keeps no lens distortion"):
        StreetStream(tmp_path, SMALL, STREET, images=True)[0]


def test_workers_draw_the_scans_that_one_process_draws_and_end_when_closed(tmp_path):
    one = StreetStream(tmp_path / "one", SMALL, STREET)
    two = StreetStream(tmp_path / "two", replace(SMALL, processes=1), STREET)
    try:
        for row in (0, 1):
            assert np.array_equal(one[row].points, two[row].points)
    finally:
        two.close()
    assert not multiprocessing.active_children()


def test_the_folder_stays_small_and_what_was_removed_is_drawn_again(tmp_path, quick):
    stream = StreetStream(tmp_path, SMALL, STREET)
    for epoch in range(9):
        rows = [int(stream.scan(epoch, row).points[0, 0]) for row in range(4)]
        assert rows == [street for street in streets_of(SMALL, epoch) for _ in range(2)]
        assert len(list(stream.folder.glob("*.npz"))) <= SMALL.kept
    assert not (stream.folder / "0_0.npz").exists()
    assert stream.scan(0, 0).points[0, 0] == 0


def test_settings_that_change_scans_change_the_folder_and_others_do_not(tmp_path):
    folder = StreetStream(tmp_path, SMALL, STREET).folder
    for change in ({"reuse": 1}, {"scans": 2}, {"processes": 1}, {"kept": 50}):
        assert StreetStream(tmp_path, replace(SMALL, **change), STREET).folder == folder
    for change in ({"seed": 4}, {"per_street": 1}, {"drive": replace(DRIVE, spacing=2)}):
        assert StreetStream(tmp_path, replace(SMALL, **change), STREET).folder != folder
    assert StreetStream(tmp_path, SMALL, STREET, images=True).folder != folder


def test_a_recipe_mixes_it_with_files_and_only_its_scans_change_by_epoch(tmp_path, quick):
    data = DataSettings(layout="synthetic_stream", root="cache", stream=SMALL)
    still = [f"file {number}" for number in range(3)]
    mixture = Mixture([data.open(tmp_path, STREET), still], [1, 2])
    assert len(mixture) == 4 + 2 * 3
    for epoch in (0, 5):
        scans = mixture.of_epoch(epoch)
        assert len(scans) == len(mixture)
        assert scans[2].points[0, 0] == SMALL.street_of(epoch, 1)
        assert [scans[index] for index in (4, 9)] == ["file 0", "file 2"]
    with pytest.raises(ValueError, match="its scans stand alone"):
        mixture.neighbours(0, (-1,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(SMALL, scans=5), "expected a multiple of per_street 2, got 5"),
        (lambda: replace(SMALL, kept=11), "at least 3 rounds of 4 scans, got 11"),
        (
            lambda: DataSettings(layout="synthetic_stream", sequences=("00",)),
            "sequences: a synthetic_stream has none",
        ),
        (lambda: DataSettings(stream=SMALL), "stream: layout semantic_kitti has none"),
    ],
)
def test_settings_that_cannot_be_are_refused(make, message):
    with pytest.raises((ValueError, SettingsError), match=message):
        make()
