"""The metric against a slow reference, against torchmetrics where installed, and by hand where
evaluation scripts go wrong.
"""

import json

import numpy as np
import pytest

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.evaluation.metrics import Calibration, ConfusionMatrix, Scores, score
from cmdfusion_ros.frame import IGNORE_LABEL, Frame, Prediction


def slow_iou(labels, predicted, num_classes):
    ious = []
    for c in range(num_classes):
        pairs = [(a, b) for a, b in zip(labels, predicted, strict=True) if a != IGNORE_LABEL]
        union = sum(a == c or b == c for a, b in pairs)
        ious.append(sum(a == c and b == c for a, b in pairs) / union if union else np.nan)
    return np.array(ious)


def random_case(seed, num_classes=6, num_points=400):
    rng = np.random.default_rng(seed)
    # the last class has no ground truth
    values = np.r_[np.arange(num_classes - 1), IGNORE_LABEL].astype(np.uint8)
    labels = rng.choice(values, num_points)
    predicted = np.where(rng.random(num_points) < 0.6, labels, rng.choice(values, num_points))
    return labels, predicted.astype(np.uint8)


@pytest.mark.parametrize("seed", range(6))
def test_iou_is_that_of_the_slow_reference_in_any_number_of_parts(seed):
    labels, predicted = random_case(seed)
    matrix = ConfusionMatrix(6)
    for part in np.array_split(np.arange(len(labels)), 3):
        matrix.add(labels[part], predicted[part])
    expected = slow_iou(labels, predicted, 6)
    np.testing.assert_allclose(matrix.iou, expected)
    assert matrix.miou == pytest.approx(np.nanmean(expected))
    assert matrix.miou_of_present == pytest.approx(np.mean(expected[:5]))
    valid = labels != IGNORE_LABEL
    assert matrix.accuracy == pytest.approx((labels == predicted)[valid].mean())
    np.testing.assert_array_equal(matrix.points, np.bincount(labels[valid], minlength=6))


@pytest.mark.parametrize("seed", range(3))
def test_iou_is_that_of_torchmetrics(seed):
    torchmetrics = pytest.importorskip("torchmetrics")
    import torch

    labels, predicted = random_case(seed)
    predicted[predicted == IGNORE_LABEL] = 0  # torchmetrics knows no prediction of nothing
    matrix = ConfusionMatrix(6)
    matrix.add(labels, predicted)
    index = {"task": "multiclass", "num_classes": 6, "ignore_index": IGNORE_LABEL}
    arguments = (
        torch.from_numpy(predicted.astype(np.int64)),
        torch.from_numpy(labels.astype(np.int64)),
    )
    theirs = torchmetrics.JaccardIndex(average="none", **index)(*arguments).numpy()
    ours = matrix.iou
    np.testing.assert_allclose(theirs[np.isfinite(ours)], ours[np.isfinite(ours)], rtol=1e-6)
    assert matrix.miou == pytest.approx(
        float(torchmetrics.JaccardIndex(average="macro", **index)(*arguments)), rel=1e-6
    )


def test_a_labelled_point_predicted_as_nothing_counts_against_its_class():
    """10 % of the points predicted as nothing: 0.9, where scripts that crop the column of class
    0 say 1.0.
    """
    labels = np.tile(np.arange(4, dtype=np.uint8), 100)
    predicted = labels.copy()
    predicted[:40] = IGNORE_LABEL
    matrix = ConfusionMatrix(4)
    matrix.add(labels, predicted)
    assert matrix.miou == pytest.approx(0.9)


def test_a_class_seen_only_in_predictions_counts_as_zero_and_one_seen_nowhere_not_at_all():
    matrix = ConfusionMatrix(3)
    matrix.add(np.array([0, 0], np.uint8), np.array([0, 1], np.uint8))
    assert matrix.iou[:2].tolist() == [0.5, 0.0] and np.isnan(matrix.iou[2])
    assert matrix.miou == pytest.approx(0.25) and matrix.miou_of_present == pytest.approx(0.5)


def test_points_without_ground_truth_do_not_count():
    matrix = ConfusionMatrix(2)
    matrix.add(np.array([IGNORE_LABEL, 1], np.uint8), np.array([0, 1], np.uint8))
    assert matrix.counts.sum() == 1 and matrix.miou == 1.0


def test_nothing_counted_has_no_score():
    assert (
        np.isnan(ConfusionMatrix(2).miou)
        and np.isnan(ConfusionMatrix(2).accuracy)
        and np.isnan(Calibration().error)
    )


def test_wrong_input_is_named():
    with pytest.raises(
        ValueError, match=r"expected as many predictions as labels, got \(2,\) for \(3,\)"
    ):
        ConfusionMatrix(2).add(np.zeros(3, np.uint8), np.zeros(2, np.uint8))
    with pytest.raises(ValueError, match="labels: expected 0..1 or 255, got 0 to 7"):
        ConfusionMatrix(2).add(np.array([0, 7], np.uint8), np.zeros(2, np.uint8))


def test_chance_is_what_labels_drawn_at_random_score():
    rng = np.random.default_rng(2)
    labels, guesses = (
        rng.choice(4, 200_000, p=(0.7, 0.2, 0.1, 0.0)).astype(np.uint8) for _ in range(2)
    )
    matrix = ConfusionMatrix(4)
    matrix.add(labels, guesses)
    np.testing.assert_allclose(matrix.chance_iou[:3], matrix.iou[:3], atol=0.003)
    assert matrix.chance_iou[0] == pytest.approx(0.7 / 1.3, abs=0.003) and matrix.chance_iou[3] == 0
    assert np.isnan(ConfusionMatrix(2).chance_iou).all()


def test_calibration_error_by_hand():
    """0.75 sure and right 3 of 4 times: no gap; 0.5 sure and wrong, once: gap 0.5; weighted
    4 to 1.
    """
    calibration = Calibration(num_bins=10)
    calibration.add(
        np.array([0.75, 0.75, 0.75, 0.75], np.float32), np.array([True, True, True, False])
    )
    assert calibration.error == pytest.approx(0.0)
    calibration.add(np.array([0.5], np.float32), np.array([False]))
    assert calibration.error == pytest.approx((4 * 0.0 + 1 * 0.5) / 5)


def test_confidence_that_is_the_true_chance_is_calibrated():
    rng = np.random.default_rng(0)
    confidence = rng.random(200_000).astype(np.float32)
    calibration = Calibration()
    calibration.add(confidence, rng.random(200_000) < confidence)
    assert calibration.error < 0.01
    # both ends have a bin
    calibration.add(np.array([0.0, 1.0], np.float32), np.array([False, True]))


def test_rings_counted_apart_are_one_when_counted_together():
    rng = np.random.default_rng(0)
    confidence, correct = rng.random(1000).astype(np.float32), rng.random(1000) < 0.5
    whole, near, far = Calibration(), Calibration(), Calibration()
    whole.add(confidence, correct)
    near.add(confidence[:300], correct[:300])
    far.add(confidence[300:], correct[300:])
    assert Calibration.of_all([near, far]).error == pytest.approx(whole.error)
    far.add(confidence[300:], correct[300:])
    twice = Calibration.of_all([near, Calibration.of_all([far])])
    once = Calibration()
    once.add(confidence[300:], correct[300:])
    assert Calibration.of_all([near, once], weights=[1, 2]).error == pytest.approx(twice.error)


def test_scores_go_to_the_ring_of_their_distance_and_read_as_json():
    street = load_class_map("street")
    # 5 m, 15 m, 60 m, and 10 m, which opens its ring
    points = np.array([[3, 4, 50], [0, 15, 0], [-60, 0, 0], [10, 0, 0]], np.float32)
    labels = np.array([0, 1, IGNORE_LABEL, 1], np.uint8)
    frame = Frame(points, np.zeros(4, np.float32), labels=labels, name="made")
    answer = Prediction(
        np.array([0, 1, 2, 0], np.uint8), np.full(4, 0.9, np.float32), np.zeros(4, np.uint32)
    )
    values = json.loads(json.dumps(score(lambda _: answer, [frame], street).to_dict()))
    assert {ring: entry["points"] for ring, entry in values["by_distance"].items()} == {
        "0-10": 1,
        "10-20": 2,
        "20-30": 0,
        "30-50": 0,
        "50-inf": 0,
    }
    assert (
        values["by_distance"]["0-10"]["miou"] == 1.0
        and values["by_distance"]["20-30"]["miou"] is None
    )
    assert (
        values["iou"]["road"] == 0.5
        and values["iou"]["sidewalk"] == 0.5
        and values["iou"]["car"] is None
    )
    assert (
        values["chance"]["road"] == pytest.approx(1 / 3 / (2 - 1 / 3), abs=1e-6)
        and values["chance"]["car"] == 0.0
    )
    assert (
        values["points"]["sidewalk"] == 2
        and values["miou"] == 0.5
        and values["accuracy"] == pytest.approx(2 / 3, abs=1e-6)
    )
    assert values["ece"] == values["ece_uncalibrated"] == pytest.approx(0.9 - 2 / 3, abs=1e-6)
    assert values["by_distance"]["0-10"]["ece"] == pytest.approx(0.1, abs=1e-6) and values[
        "by_distance"
    ]["10-20"]["ece"] == pytest.approx(0.4, abs=1e-6)
    assert values["by_distance"]["20-30"]["ece"] is None
    [used] = [each for each in values["reliability"]["calibrated"] if each["points"]]
    assert used == {
        "points": 3,
        "confidence": pytest.approx(0.9, abs=1e-6),
        "accuracy": pytest.approx(2 / 3, abs=1e-6),
    }


def test_a_frame_without_labels_cannot_be_scored():
    frame = Frame(np.zeros((1, 3), np.float32), np.zeros(1, np.float32), name="bare")
    with pytest.raises(ValueError, match="frame bare: has no labels"):
        Scores.empty(load_class_map("street")).add(frame, None)
