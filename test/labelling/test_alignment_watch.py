"""The node's own look at where its cameras sit: right ones are left in peace, wrong ones named,
and neither a robot that stands nor many cameras cost more than they may.
"""

import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from builders.aligned_drive import aligned_drive
from builders.paths import DATA
from builders.watched import Stage, turned

from cmdfusion_ros.data.bags.bag import Bag
from cmdfusion_ros.data.bags.bag_layout import inspect_bag
from cmdfusion_ros.data.bags.bag_transforms import BagTransforms
from cmdfusion_ros.frame import CameraView, Frame
from cmdfusion_ros.geometry.transforms import rigid
from cmdfusion_ros.labelling.alignment.check import Alignment
from cmdfusion_ros.labelling.alignment.score import Correction
from cmdfusion_ros.labelling.alignment.watch import (
    LOOKS,
    MOST_AT_ONCE,
    RIGHT,
)
from cmdfusion_ros.labelling.model import open_segmenter
from cmdfusion_ros.labelling.offline import OfflineNode, offline_settings
from cmdfusion_ros.labelling.settings import node_settings
from cmdfusion_ros.messages.raw_transforms import PlainTransform
from cmdfusion_ros.messages.transforms import TransformBuffer

BAG = DATA / "bags" / "pandaset_002"


@pytest.fixture
def stage():
    return Stage(aligned_drive().transforms())


def test_a_right_camera_is_judged_once_and_left_in_peace(stage):
    stage.feed(*aligned_drive().frames)
    assert stage.told == [("left", RIGHT, False)]
    assert not stage.watch.due and stage.held() == {}
    stage.feed(*(turned(frame, 3) for frame in aligned_drive().frames))
    assert len(stage.told) == 1  # nothing says that it was placed anew


def test_a_camera_that_is_turned_by_three_degrees_is_told_with_the_size(stage):
    stage.feed(*(turned(frame, 3) for frame in aligned_drive().frames))
    ((camera, words, is_wrong),) = stage.told
    assert camera == "left" and is_wrong
    assert words.startswith("wrong: this extrinsic looks wrong by about")
    assert float(words.split("about ")[1].split(" degrees")[0]) == pytest.approx(3.0, abs=0.7)


def standing():
    """Transforms of a robot that stands through the whole drive."""
    drive = aligned_drive()
    return replace(drive, poses=drive.poses[:1] * len(drive.poses)).transforms()


def test_a_robot_that_stands_beside_traffic_is_not_judged_and_looked_at_less_and_less():
    stage = Stage(standing())
    stage.feed(*aligned_drive().frames * 5)  # the images change all the time
    assert stage.last["left"] == (
        "not judged: the robot stands: less than 0.4 m from the last look",
        False,
    )
    assert len(stage.told) < 8 and list(stage.held()) == ["left"]


def test_a_camera_that_shows_one_image_again_and_again_is_not_judged(stage):
    drive = aligned_drive()
    (view,) = drive.frames[0].views
    stage.feed(
        *(
            replace(f, views=(replace(view, stamp=f.views[0].stamp),)) for f in drive.frames
        )
    )  # fmt: skip
    assert stage.last["left"] == ("not judged: its images show nothing new", False)


def test_without_a_transform_that_says_how_the_robot_moves_nothing_is_judged():
    stage = Stage(TransformBuffer())
    stage.feed(*aligned_drive().frames)
    words, is_wrong = stage.last["left"]
    assert words == "not judged: no transform to odom or map says how the robot moves"
    assert not is_wrong and stage.held() == {}


@pytest.mark.parametrize(("again", "is_wrong"), [(0.35, True), (-0.3, False)])
def test_what_is_not_sure_is_told_when_another_place_says_the_same(
    stage, monkeypatch, again, is_wrong
):
    """As the right camera of the real bag in 1.6 of its 2 seconds: a place of chance."""
    shifts = iter([0.3, again, again * 1.2])
    monkeypatch.setattr(
        "cmdfusion_ros.labelling.alignment.watch.check_alignment",
        lambda *given: Alignment(
            "shift", Correction(shift=(next(shifts), 0.0, 0.0)), 0.39, 0.61, deviations=6.5
        ),
    )
    stage.feed(*aligned_drive().frames, seconds=5.0)
    assert stage.last["left"][0].startswith("not judged: it may be wrong, and that is not sure")
    assert not stage.last["left"][1] and stage.watch._cameras["left"].tries == 1
    stage.feed(*aligned_drive().frames, seconds=5.0)
    assert stage.last["left"][1] is is_wrong


def test_cameras_of_which_nothing_is_sure_are_judged_three_times(stage, monkeypatch):
    monkeypatch.setattr(
        "cmdfusion_ros.labelling.alignment.watch.check_alignment",
        lambda *given: Alignment("cannot tell", why="its images show 20 points at edges"),
    )
    stage.feed(*aligned_drive().frames * 5, seconds=11.0)
    said = [words for _, words, _ in stage.told if "edges" in words]
    assert said == ["not judged: its images show 20 points at edges"] * 3
    assert not stage.watch.due


def test_a_transform_that_comes_a_little_later_than_its_image_is_waited_for():
    drive = aligned_drive()
    buffer = TransformBuffer()
    stage = Stage(buffer)
    later = threading.Timer(0.1, lambda: drive.fill(buffer))
    drive.fill(buffer, 2)
    later.start()
    stage.feed(drive.frames[2])
    assert stage.told == [] and list(stage.held()) == ["left"]


def test_a_camera_that_gives_no_image_is_not_waited_for_at_every_cloud(stage):
    stage.feed(*[replace(aligned_drive().frames[0], views=())] * 20)
    assert stage.last["left"] == ("not judged: no image of it was used lately", False)
    assert len(stage.told) < 7 and not stage.watch.due


def test_what_is_kept_is_bounded_whatever_the_clouds_images_and_cameras():
    rng = np.random.default_rng(0)
    points = rng.uniform(-50, 50, (400_000, 3)).astype(np.float32)
    names = [f"camera_{number}" for number in range(MOST_AT_ONCE + 3)]
    buffer = TransformBuffer()
    for second in range(LOOKS + 1):
        numbers = (float(second), 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
        buffer.add_plain([PlainTransform("odom", "lidar", second * 10**9, numbers)], False)
    stage = Stage(buffer, names)
    for second in range(1, LOOKS):
        image, stamp = rng.integers(0, 255, (1080, 1920, 3), np.uint8), second * 10**9
        lens = np.array([[900.0, 0, 960], [0, 900, 540], [0, 0, 1]])
        views = tuple(CameraView(name, image, lens, np.eye(4), None, stamp) for name in names)
        stage.feed(Frame(points, np.zeros(len(points), np.float32), stamp, "lidar", views))
    held = stage.held()
    assert len(held) == MOST_AT_ONCE
    assert max(held.values()) < (LOOKS - 1) * (960 * 540 + 3 * 15_001 * 12)


def test_switched_off_it_looks_at_nothing_and_on_again_it_begins_anew(stage):
    stage.feed(*aligned_drive().frames[:3])
    on = stage.settings.current
    off = {"cameras": ["left"], "diagnostics.check_alignment": False}
    stage.settings.current = node_settings(off)
    stage.feed(*aligned_drive().frames)
    assert stage.told == [("left", "not judged: diagnostics.check_alignment is off", False)]
    assert not stage.watch.due and stage.held() == {}
    stage.settings.current = on
    stage.feed(*aligned_drive().frames)
    assert stage.last["left"] == (RIGHT, False)


def test_a_camera_that_is_placed_anew_is_judged_anew(stage):
    geometry = SimpleNamespace(intrinsic=np.eye(3), image_size=(4, 3))
    stage.places["left"] = geometry, np.eye(4)
    stage.feed(*aligned_drive().frames, seconds=6.0)
    assert stage.last["left"] == (RIGHT, False)
    stage.places["left"] = geometry, rigid(np.eye(3), (0.1, 0, 0))
    wrong = [turned(frame, 3) for frame in aligned_drive().frames]
    stage.feed(wrong[0], seconds=61.0)
    assert ("left", "not judged: it was placed or calibrated anew", False) in stage.told
    stage.feed(*wrong[1:])
    assert stage.last["left"][1]


def test_a_check_that_fails_costs_itself_alone(stage):
    (view,) = aligned_drive().frames[0].views
    broken = replace(view)
    object.__setattr__(broken, "image", np.zeros(3))
    stage.feed(replace(aligned_drive().frames[0], views=(broken,)))
    assert stage.last["left"][0].startswith("not judged: the check failed (")
    assert not stage.watch.due


def test_closed_it_judges_and_tells_nothing_more(stage, monkeypatch):
    judged = []

    def judge(*given):
        judged.append(given)
        stage.watch.close(timeout_s=0.0)
        return Alignment("turn", Correction(turn=(0.0, 3.0, 0.0)), 0.1, 0.6, deviations=9.0)

    monkeypatch.setattr("cmdfusion_ros.labelling.alignment.watch.check_alignment", judge)
    stage.feed(*aligned_drive().frames * 2, seconds=5.0)
    assert len(judged) == 1 and stage.told == [] and not stage.watch.due


@pytest.mark.skipif(not BAG.exists(), reason="the real bag is not there")
@pytest.mark.parametrize("degrees", [0, 3])
def test_on_the_real_bag_none_is_called_wrong_and_each_that_is_turned_is(degrees):
    layout = inspect_bag(BAG)
    settings = offline_settings(layout, backend="fake")
    names = [camera.name for camera in layout.usable_cameras]
    with Bag(BAG) as bag:
        transforms = BagTransforms(bag, layout.transform_topics, layout.cloud_frame).buffer
        stage = Stage(transforms, names)

        def take(message, labelled, prediction):
            stage.feed(turned(labelled.frame, degrees), seconds=0.125)

        segmenter, _ = open_segmenter(settings.model)
        node = OfflineNode(bag, layout, settings, segmenter, take, lambda event: None)
        node.run()
        node.close()
    told = stage.last
    if degrees:
        assert {name for name, (_, is_wrong) in told.items() if is_wrong} == set(names)
    else:
        assert not any(is_wrong for _, _, is_wrong in stage.told)
        assert [name for name, (words, _) in told.items() if words == RIGHT] == names
