"""Made-up sequences come out in order, the same from the same seed, and are read back from folders
as they were made.
"""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from builders.paths import REPOSITORY

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.data.readers.semantic_kitti import SemanticKitti, read_views
from cmdfusion_ros.data.synthetic.demo_drive import demo_frames
from cmdfusion_ros.data.synthetic.rendering import render_frames, write_folders
from cmdfusion_ros.data.synthetic.rigs import load_rig
from cmdfusion_ros.data.synthetic.sequence import Sequence, SequenceSettings

KITTI = load_class_map("semantic_kitti")
SMALL = SequenceSettings(image_scale=0.15, weather="overcast")


def bytes_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_seed_gives_the_same_bytes_on_one_and_on_two_processes(tmp_path):
    counts = {
        workers: sum(write_folders(tmp_path / str(workers), 11, ["00"], 6, SMALL, True, workers))
        for workers in (1, 2)
    }
    assert counts == {1: 6, 2: 6}
    one, two = bytes_of(tmp_path / "1"), bytes_of(tmp_path / "2")
    assert len(one) == 3 * 6 + 3 and one == two


def test_frames_come_in_order_whoever_renders_them_and_other_names_give_other_streets():
    frames = list(
        render_frames(
            11,
            "00",
            3,
            SMALL,
            "semantic_kitti",
            lambda index: ("image_2",) if index == 1 else (),
            2,
        )
    )
    assert [frame.name for frame in frames] == ["00/000000", "00/000001", "00/000002"]
    assert [len(frame.views) for frame in frames] == [0, 1, 0]
    here = Sequence(11, "00", 3, SMALL).scan(2)
    assert np.array_equal(frames[2].points, here.points) and np.array_equal(
        frames[2].intensity, here.intensity
    )
    assert not np.array_equal(Sequence(11, "01", 3, SMALL).scan(2).points[:100], here.points[:100])


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_workers_of_a_killed_run_write_no_more(tmp_path):
    """They would mix their scans with those of the next run in that folder."""
    program = (
        "from test_rendering import SMALL\n"
        "from cmdfusion_ros.data.synthetic.rendering import write_folders\n"
        "if __name__ == '__main__':\n"
        f"    for _ in write_folders({str(tmp_path / 'out')!r}, 11, ['00'], 500, SMALL, True, 2):\n"
        "        print('one', flush=True)\n"
    )
    script = tmp_path / "render.py"
    script.write_text(program)
    paths = (str(REPOSITORY), str(Path(__file__).parent), str(REPOSITORY / "test"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    with subprocess.Popen(
        [sys.executable, script], env=environment, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout.readline() == "one\n"
        workers = children_of(run.pid)
        run.kill()
    assert len(workers) >= 2
    end = time.monotonic() + 30
    while any(is_running(worker) for worker in workers):
        assert time.monotonic() < end, "workers of a killed run went on for 30 s"
        time.sleep(0.05)


def children_of(pid):
    """Process ids of the children of `pid`, from /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def is_running(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_written_sequence_is_read_back_equal(tmp_path):
    assert sum(write_folders(tmp_path, 11, ["00"], 3, SMALL)) == 3
    made = Sequence(11, "00", 3, SMALL)
    read = SemanticKitti(tmp_path, ["00"], KITTI, images=True)
    assert len(read) == 3
    for index in range(3):
        ours, theirs = made.frame(index, KITTI), read[index]
        for name in ("points", "intensity", "labels"):
            assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name
        ids = {
            (int(made_up), int(from_file))
            for made_up, from_file in zip(ours.instance_ids, theirs.instance_ids, strict=True)
        }
        # other ids, the same things
        assert (
            len(ids)
            == len({made_up for made_up, _ in ids})
            == len({from_file for _, from_file in ids})
            > 1
            and (0, 0) in ids
        )
        np.testing.assert_allclose(theirs.world_from_lidar, ours.world_from_lidar, atol=1e-9)
        assert theirs.stamp == ours.stamp
        (view,), (expected,) = theirs.views, ours.views
        assert np.array_equal(view.image, expected.image)
        np.testing.assert_allclose(view.intrinsic, expected.intrinsic, rtol=1e-12)
        np.testing.assert_allclose(view.camera_from_lidar, expected.camera_from_lidar, atol=1e-12)
    assert [view.name for view in read_views(tmp_path / "sequences" / "00", "000001")] == [
        "image_2"
    ]
    words = np.fromfile(tmp_path / "sequences" / "00" / "labels" / "000000.label", "<u4")
    assert {60, 252} & set((words & 0xFFFF).tolist()) or {70} & set((words & 0xFFFF).tolist())
    assert (
        cv2.imread(str(tmp_path / "sequences" / "00" / "image_2" / "000000.png")).shape[:2]
        == made.rig.cameras[0].size[::-1]
    )


def test_every_camera_of_a_rig_is_written_and_read_back(tmp_path):
    settings = SequenceSettings(rig="nuscenes", image_scale=0.05, weather="overcast")
    list(write_folders(tmp_path, 11, ["00"], 1, settings))
    ours, (theirs,) = (
        Sequence(11, "00", 1, settings).frame(0, KITTI),
        SemanticKitti(tmp_path, ["00"], KITTI, images=True),
    )
    assert len(theirs.views) == 6 and [view.name for view in theirs.views] == [
        view.name for view in ours.views
    ]
    for view, expected in zip(theirs.views, ours.views, strict=True):
        assert np.array_equal(view.image, expected.image) and view.stamp == expected.stamp
        assert np.array_equal(view.intrinsic, expected.intrinsic) and np.array_equal(
            view.camera_from_lidar, expected.camera_from_lidar
        )
    folder = tmp_path / "sequences" / "00"
    # where official tools look
    assert np.array_equal(
        cv2.imread(str(folder / "image_2" / "000000.png"))[:, :, ::-1], ours.views[0].image
    )
    (folder / "image_2_3" / "000000.png").unlink()
    with pytest.raises(FileNotFoundError, match="fetch image_2_3 or read with images=False"):
        SemanticKitti(tmp_path, ["00"], KITTI, images=True)[0]
    assert SemanticKitti(tmp_path, ["00"], KITTI)[0].views == ()
    (folder / "cameras.json").write_text('[{"name": "front"}]')
    with pytest.raises(
        ValueError, match=r"cameras.json: expected a list of name, folder.*KeyError\('folder'\)"
    ):
        SemanticKitti(tmp_path, ["00"], KITTI, images=True)[0]


def test_a_bent_lens_does_not_fit_into_the_folder_layout(tmp_path):
    with pytest.raises(ValueError, match="knows no lens distortion; take the rig kitti"):
        list(write_folders(tmp_path, 0, ["00"], 1, SequenceSettings(rig="demo")))


def test_cameras_of_the_demo_die_and_come_back(monkeypatch):
    from cmdfusion_ros.data.synthetic import demo_drive

    def seen(seed, name, num_scans, settings, class_map_name, cameras_of, workers):
        assert sorted(cameras_of(0)) == sorted(
            camera.name for camera in load_rig(settings.rig).cameras
        )
        return [len(cameras_of(index)) for index in range(num_scans)]

    monkeypatch.setattr(demo_drive, "render_frames", seen)
    numbers = demo_frames("street", 1)
    assert len(numbers) == 30
    some = [numbers[index] for index in (0, 7, 8, 12, 17, 18, 23, 24)]
    assert some == [6, 6, 5, 4, 5, 0, 0, 5]
