"""Evaluation against what it says it does: subsets of cameras, changed scans, points in view."""

from dataclasses import replace

import numpy as np
import pytest

from cmdfusion_ros.checkpoint.temperatures import Temperatures
from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.evaluation.evaluate import (
    TEST_TIME_CHANGES,
    answer_with,
    evaluate,
    segment_with,
    spread,
)
from cmdfusion_ros.evaluation.metrics import seen_points
from cmdfusion_ros.frame import CameraView, Frame, Prediction

STREET = load_class_map("street")


def camera(name, turn):
    """A camera that looks along x turned by `turn` quarter turns, 90 degrees wide."""
    axes = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
    c, s = np.cos(turn * np.pi / 2), np.sin(turn * np.pi / 2)
    camera_from_lidar = np.eye(4)
    camera_from_lidar[:3, :3] = axes @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    return CameraView(
        name,
        np.zeros((40, 40, 3), np.uint8),
        np.array([[20.0, 0, 20], [0, 20, 20], [0, 0, 1]]),
        camera_from_lidar,
    )


def make_frame(views=(), name="made", num_points=400):
    rng = np.random.default_rng(1)
    points = (rng.normal(0, 10, (num_points, 3)) * (1, 1, 0.05)).astype(np.float32)
    return Frame(
        points,
        np.zeros(num_points, np.float32),
        views=views,
        labels=rng.integers(0, 2, num_points).astype(np.uint8),
        name=name,
    )


class Sees:
    """Right where a live camera sees the point, wrong elsewhere."""

    class_map, uses_images = STREET, True

    def segment(self, frame):
        seen = seen_points(frame)
        labels = np.where(seen, frame.labels, 1 - frame.labels).astype(np.uint8)
        return Prediction(labels, np.full(len(labels), 0.5, np.float32), seen.astype(np.uint32))

    def segment_with_raw(self, frame):
        return self.segment(frame), np.full(frame.num_points, 0.9, np.float32)


FOUR = tuple(camera(name, turn) for turn, name in enumerate(("front", "left", "back", "right")))


def test_each_number_of_live_cameras_is_scored_over_its_subsets():
    frame = make_frame(FOUR)
    result = evaluate(Sees(), [frame, replace(frame, name="other")])
    live = result["by_live_cameras"]
    assert {number: entry["subsets"] for number, entry in live.items()} == {
        "0": 2,
        "1": 8,
        "2": 12,
        "3": 8,
        "4": 2,
    }
    assert {number: entry["points"] for number, entry in live.items()} == {
        "0": 800,
        "1": 3200,
        "2": 4800,
        "3": 3200,
        "4": 800,
    }
    mious = [live[str(number)]["miou"] for number in range(5)]
    assert mious[0] == 0.0 and mious == sorted(mious) and mious[4] == result["miou"]


def test_the_gain_of_images_is_that_of_the_scans_that_have_them():
    frames = [make_frame(FOUR, num_points=1200), make_frame(name="blind", num_points=1200)]
    result = evaluate(Sees(), [frames[0]] * 4 + [frames[1]])["image_gain"]
    assert result["scans"] == 4 and result["low"] is None
    assert result["miou"] == pytest.approx(1.0, abs=0.01) and len(result["classes"]) == 2
    assert evaluate(Sees(), [frames[1]])["image_gain"] is None


def test_of_many_subsets_some_are_drawn_by_the_name_of_the_scan():
    frame = make_frame(FOUR)
    first, again = (evaluate(Sees(), [frame], max_subsets=2)["by_live_cameras"] for _ in range(2))
    assert first == again and [first[str(number)]["subsets"] for number in range(5)] == [
        1,
        2,
        2,
        2,
        1,
    ]


def test_a_network_without_eyes_has_one_number_of_cameras():
    class Blind(Sees):
        uses_images = False

    live = evaluate(Blind(), [make_frame(FOUR)])["by_live_cameras"]
    assert list(live) == ["0"] and live["0"]["points"] == 400


def test_points_in_view_are_told_from_others():
    frame = make_frame(FOUR[:1])
    result = evaluate(Sees(), [frame])
    ahead = seen_points(frame)
    assert 0 < ahead.sum() < 200 and (frame.points[ahead, 0] > np.abs(frame.points[ahead, 1])).all()
    assert result["in_view"] == {"miou": 1.0, "points": int(ahead.sum())}
    assert result["out_of_view"] == {"miou": 0.0, "points": int((~ahead).sum())}
    assert evaluate(Sees(), [make_frame()])["in_view"] == {"miou": None, "points": 0}


class ByPlace:
    """Class probabilities that depend on the sign of x: a scan turned by half answers the other
    way round.
    """

    class_map, uses_images, temperatures = STREET, False, None

    def probabilities(self, frame, calibrated=True):
        assert not calibrated  # the mean is what the temperatures are for
        right = np.where(frame.points[:, 0] > 0, 0.9, 0.2)
        rows = np.zeros((frame.num_points, STREET.num_classes), np.float32)
        rows[:, 0], rows[:, 1] = right, 1 - right
        return rows, np.zeros(frame.num_points, np.uint32)


@pytest.mark.parametrize("tta", [name for name in TEST_TIME_CHANGES if name != "none"])
def test_answers_to_changed_scans_are_averaged(tta):
    prediction = segment_with(ByPlace(), tta)(make_frame())
    assert np.allclose(prediction.confidence, 0.55, atol=0.12) and (
        tta == "yaw12" or np.allclose(prediction.confidence, 0.55)
    )
    # each point lies on either side equally often: 0.9 and 0.2
    assert (prediction.labels == 0).all()


@pytest.mark.parametrize("tta", [name for name in TEST_TIME_CHANGES if name != "none"])
def test_temperatures_change_how_sure_the_mean_is_and_no_label(tta):
    class Tempered(ByPlace):
        temperatures = Temperatures((5.0,), (2.0,))

    plain = segment_with(ByPlace(), tta)(make_frame())
    tempered, raw = answer_with(Tempered(), tta)(make_frame())
    np.testing.assert_array_equal(tempered.labels, plain.labels)
    np.testing.assert_array_equal(raw, plain.confidence)
    # two classes: half the difference of the logits is the root of the odds
    odds = np.sqrt(raw / (1 - raw))
    np.testing.assert_allclose(tempered.confidence, odds / (1 + odds), rtol=1e-5)


def test_both_confidences_are_scored():
    frame = make_frame(FOUR)
    # 0.5 sure of every point, 0.9 before temperatures
    result, right = evaluate(Sees(), [frame]), seen_points(frame)
    near = result["by_distance"]["0-10"]
    for scores, rows in (
        (result, slice(None)),
        (near, np.hypot(frame.points[:, 0], frame.points[:, 1]) < 10),
    ):
        accuracy = right[rows].mean()
        assert accuracy > 0.9
        assert scores["ece"] == pytest.approx(abs(accuracy - 0.5), abs=1e-5) and scores[
            "ece_uncalibrated"
        ] == pytest.approx(abs(accuracy - 0.9), abs=1e-5)
    assert result["by_distance"]["50-inf"]["ece"] is None


def test_the_first_change_is_none():
    frame = make_frame()
    for changes in TEST_TIME_CHANGES.values():
        np.testing.assert_allclose(changes[0](frame).points, frame.points, atol=1e-6)


def test_spread_is_mean_and_deviation_and_one_result_is_itself():
    results = [evaluate(Sees(), [make_frame(FOUR[:number])]) for number in (1, 2)]
    assert spread(results[:1]) is results[0]
    both = spread(results)
    a, b = (result["miou"] for result in results)
    assert both["miou"] == pytest.approx((a + b) / 2, abs=1e-6)
    assert both["spread"]["standard_deviation"]["miou"] == pytest.approx(
        abs(a - b) / np.sqrt(2), abs=1e-6
    )
    assert both["iou"]["car"] is None and both["spread"]["standard_deviation"]["iou"]["car"] is None
    error_a, error_b = (result["ece"] for result in results)
    assert (
        both["ece"] == pytest.approx((error_a + error_b) / 2, abs=1e-6)
        and both["by_distance"]["0-10"]["ece_uncalibrated"] is not None
    )
    assert list(both["by_live_cameras"]) == ["0", "1"]  # what both have
    bins = both["reliability"]["calibrated"]
    assert sum(each["points"] for each in bins) == 800
    [used] = [each for each in bins if each["points"]]
    assert used["confidence"] == 0.5 and used["accuracy"] == pytest.approx(
        np.mean([result["accuracy"] for result in results]), abs=1e-6
    )


def test_a_scan_that_one_of_several_checkpoints_was_trained_on_counts_as_trained_on():
    result = evaluate(Sees(), [make_frame(FOUR[:1])])
    seen = [
        {**result, "trained_on": [], "calibrated_on": ["a"]},
        {**result, "trained_on": ["b"], "calibrated_on": ["c"]},
    ]
    both = spread(seen)
    assert both["trained_on"] == ["b"] and both["calibrated_on"] == ["a", "c"]
