"""What a network is given to learn: labels carried to where they hold, its own where believed."""

import numpy as np
import pytest

from cmdfusion_ros.adaptation.carried_labels import carry_labels, join_labels
from cmdfusion_ros.adaptation.lessons import OwnTrust, TrustCounts, make_lesson
from cmdfusion_ros.adaptation.settings import LessonSettings
from cmdfusion_ros.adaptation.stretches import held_out_stretches
from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.frame import IGNORE_LABEL, Frame
from cmdfusion_ros.geometry.transforms import rigid

STREET = load_class_map("street")
ROAD, SIDEWALK, BUILDING, CAR = map(STREET.label, ("road", "sidewalk", "building", "car"))
SETTINGS, SECOND = LessonSettings(), 1_000_000_000


def scan(points, labels, seconds=0.0, x=0.0, confidence=1.0):
    """A scan from a LiDAR at `x` that looks at points of the world."""
    points = np.array(points, np.float32)
    pose = rigid(np.eye(3), (x, 0, 0))
    local = (points - pose[:3, 3]).astype(np.float32)
    frame = Frame(local, np.zeros(len(points), np.float32), round(seconds * SECOND),
                  world_from_lidar=pose)  # fmt: skip
    return frame, np.array(labels, np.uint8), np.full(len(points), confidence, np.float32)


def test_what_a_camera_saw_later_labels_what_was_there_before():
    wall, unseen = [[10.05, 3.05, 0.05]], [[10.05, -3.05, 0.05]]
    first = scan(wall + unseen, [IGNORE_LABEL] * 2)
    later = [scan(wall, [BUILDING], seconds, x=4 * seconds) for seconds in (1, 2)]
    carried = carry_labels([first, *later], STREET, SETTINGS)
    assert carried.of(first[0]).tolist() == [BUILDING, IGNORE_LABEL]


def test_one_weak_vote_and_a_quarrel_carry_nothing():
    spot = [[30.0, 0.05, 0.05]]
    weak = carry_labels([scan(spot, [BUILDING], confidence=0.6)], STREET, SETTINGS)
    assert weak.of(scan(spot, [BUILDING])[0]).tolist() == [IGNORE_LABEL]
    near = [[3.0, 0.05, 0.05]]
    quarrel = [scan(near, [label], t) for t, label in enumerate([BUILDING, ROAD] * 20)]
    assert carry_labels(quarrel, STREET, SETTINGS).of(quarrel[0][0]).tolist() == [IGNORE_LABEL]


def test_a_parked_car_is_carried_and_one_that_drove_by_is_not():
    parked, passing = [[8.05, 4.05, 0.05]], [[8.05, -4.05, 0.05]]
    scans = [scan(parked, [CAR], seconds / 2) for seconds in range(20)]
    scans += [scan(passing * 20, [CAR] * 20, 1.0), scan(passing * 20, [CAR] * 20, 1.1)]
    carried = carry_labels(scans, STREET, SETTINGS)
    asked = scan(parked + passing, [IGNORE_LABEL] * 2, 30.0)[0]
    assert carried.of(asked).tolist() == [CAR, IGNORE_LABEL]


def test_the_world_may_count_from_anywhere():
    far = rigid(np.eye(3), (4.5e6, 5.2e6, 400))
    frames = [Frame(np.array([[5, 0, 0]], np.float32), np.zeros(1, np.float32), stamp,
                    world_from_lidar=far) for stamp in range(3)]  # fmt: skip
    scans = [(frame, np.array([BUILDING], np.uint8), np.ones(1, np.float32)) for frame in frames]
    assert carry_labels(scans, STREET, SETTINGS).of(frames[0]).tolist() == [BUILDING]
    assert carry_labels([], STREET, SETTINGS).of(frames[0]).tolist() == [IGNORE_LABEL]
    no_pose = Frame(frames[0].points, frames[0].intensity)
    with pytest.raises(ValueError, match="has no pose, by which labels are carried"):
        carry_labels([(no_pose, scans[0][1], scans[0][2])], STREET, SETTINGS)


def test_a_thing_is_believed_at_its_own_time_and_a_cube_before_a_single_word():
    direct = np.array([CAR, ROAD, ROAD, IGNORE_LABEL], np.uint8)
    carried = np.array([ROAD, SIDEWALK, IGNORE_LABEL, BUILDING], np.uint8)
    assert join_labels(direct, carried, STREET).tolist() == [CAR, SIDEWALK, ROAD, BUILDING]


def test_own_answers_are_believed_from_where_they_agree_with_the_teacher():
    counts, rng = TrustCounts(STREET.num_classes), np.random.default_rng(0)
    confidence = rng.uniform(0, 1, 20_000).astype(np.float32)
    taught = np.where(confidence > 0.6, ROAD, BUILDING).astype(np.uint8)
    counts.add(np.full(20_000, ROAD, np.uint8), confidence, taught)  # right when over 0.6 sure
    counts.add(np.full(5000, CAR, np.uint8), confidence[:5000], np.full(5000, ROAD, np.uint8))
    counts.add(np.full(50, SIDEWALK, np.uint8), np.ones(50), np.full(50, SIDEWALK, np.uint8))
    least = counts.trust(agreement=0.9).least
    # from t on the share that is right is 0.4 / (1 - t): 0.9 at t = 0.556
    assert least[ROAD] == pytest.approx(0.56, abs=0.021)
    assert least[CAR] > 1 and least[SIDEWALK] > 1  # always wrong; too few to know


def test_the_teacher_stands_but_for_what_it_seldom_finds_and_silence_leaves_room():
    taught = np.array([ROAD, ROAD, SIDEWALK, CAR, IGNORE_LABEL, IGNORE_LABEL], np.uint8)
    own = np.array([SIDEWALK, BUILDING, ROAD, SIDEWALK, ROAD, CAR], np.uint8)
    confidence = np.array([0.8, 0.9, 0.9, 0.3, 0.95, 0.95], np.float32)
    least = np.full(STREET.num_classes, 2.0, np.float32)
    least[ROAD] = 0.9
    lesson = make_lesson(taught, own, confidence, OwnTrust(least), STREET, SETTINGS)
    assert lesson.tolist() == [IGNORE_LABEL, ROAD, SIDEWALK, CAR, ROAD, IGNORE_LABEL]


def test_the_end_of_every_minute_judges_and_its_neighbours_are_in_neither():
    stamps = [place * SECOND // 10 for place in range(1200)]  # two minutes
    learnt, judges = held_out_stretches(stamps, 0.2, 1.0)
    assert len(judges) == pytest.approx(240, abs=4) and set(judges).isdisjoint(learnt)
    assert min(abs(a - b) for a in judges for b in learnt) > 10
    assert {500, 1190} <= set(judges) and {0, 700} <= set(learnt)
    short = [place * SECOND // 10 for place in range(10)]  # a second: no room for a gap of one
    learnt, judges = held_out_stretches(short, 0.2, 1.0)
    assert judges == [8, 9] and len(learnt) >= 4 and max(learnt) < 8
    assert held_out_stretches([0, 1], 0.2, 1.0)[1] == [1]
    with pytest.raises(ValueError, match="at least two scans"):
        held_out_stretches([5], 0.2, 1.0)
