"""Saved frames: what is in them, and that they are whole, unique and few."""

import json
import threading

import numpy as np
import pytest
from builders.labelled_cloud import POINTS, STREET

from cmdfusion_ros.labelling import frame_saver
from cmdfusion_ros.labelling.frame_saver import MOST_FILES, FrameSaver, save_frame
from cmdfusion_ros.labelling.settings import node_settings

SETTINGS = node_settings({"cameras": ["front"]})


def test_a_saved_frame_holds_inputs_and_outputs(labelled, tmp_path):
    path = tmp_path / "deep" / "frame.npz"
    save_frame(path, labelled, labelled.prediction, STREET, node_settings({"cameras": ["front"]}))
    with np.load(path) as saved:
        np.testing.assert_array_equal(saved["points"], POINTS)
        np.testing.assert_array_equal(saved["labels"], labelled.prediction.labels)
        assert saved["class_names"][saved["labels"]].tolist() == ["road", "car", "car", "road"]
        assert (
            saved["front.image"].shape == (4, 6, 3)
            and saved["front.stamp"] == 77
            and saved["mode"] == "FUSED"
        )
        facts = json.loads(str(saved["facts"]))
    assert facts["cameras"] == [["front", "FUSED", "", 1000, 2]] and facts["fields"][0] == [
        "x",
        0,
        7,
        1,
    ]
    assert (
        facts["settings"]["sync"]["max_wait"] == 0.06
        and facts["settings"]["camera_settings"]["front"]["enabled"] is True
    )


@pytest.fixture
def content(labelled):
    return labelled, labelled.prediction, STREET, SETTINGS


def test_a_file_of_that_name_is_never_replaced(content, tmp_path):
    path = tmp_path / "frame.npz"
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="frame.npz"):
        save_frame(path, *content)
    assert path.read_bytes() == b"mine" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_no_file_and_says_so(content, tmp_path, monkeypatch):
    def full(stream, **arrays):
        stream.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(frame_saver.np, "savez_compressed", full)
    said = []
    saver = FrameSaver(lambda path, why: said.append(why))
    saver.ask(tmp_path)
    saver.take(*content)
    saver.close()
    assert "No space left" in said[0] and list(tmp_path.iterdir()) == []


def test_each_request_is_a_new_file_and_only_one_runs_at_a_time(content, tmp_path):
    saver = FrameSaver(lambda path, why: said.append((path, why)))
    said = []
    first = saver.ask(tmp_path)
    with pytest.raises(BlockingIOError, match="already"):
        saver.ask(tmp_path)
    saver.take(*content)
    saver.take(*content)  # nobody asked for this one
    saver.close()
    second = saver.ask(tmp_path)
    saver.take(*content)
    saver.close()
    assert first != second and said == [(first, ""), (second, "")]
    assert sorted(tmp_path.iterdir()) == sorted([first, second])


def test_a_folder_takes_a_bounded_number_of_frames(content, tmp_path):
    for number in range(MOST_FILES):
        (tmp_path / f"cmdfusion_frame_{number}.npz").touch()
    with pytest.raises(OSError, match=f"holds {MOST_FILES} saved frames"):
        FrameSaver(print).ask(tmp_path)


def test_a_nearly_full_disk_is_left_alone(tmp_path, monkeypatch):
    real = frame_saver.os.statvfs(tmp_path)
    nearly = type("Disk", (), {"f_bavail": 10, "f_frsize": real.f_frsize})()
    monkeypatch.setattr(frame_saver.os, "statvfs", lambda path: nearly)
    with pytest.raises(OSError, match="MB are free"):
        FrameSaver(print).ask(tmp_path)


def test_saving_does_not_hold_up_the_next_cloud(content, tmp_path, monkeypatch):
    go, real = threading.Event(), frame_saver.save_frame
    monkeypatch.setattr(frame_saver, "save_frame", lambda *args: (go.wait(20), real(*args)))
    done = []
    saver = FrameSaver(lambda path, why: done.append(why))
    saver.ask(tmp_path)
    saver.take(*content)
    assert not done and saver.busy  # `take` came back while the file is being written
    go.set()
    saver.close()
    assert done == [""]
