"""Temperatures: found where they are known, held where little is known, and good for the error
they are fitted to lower.
"""

import numpy as np
import pytest
from builders.paths import REPOSITORY

from cmdfusion_ros.checkpoint.temperatures import Temperatures
from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.config import SettingsError, load_settings
from cmdfusion_ros.evaluation import calibrate
from cmdfusion_ros.evaluation.calibrate import (
    RING_CENTRES,
    Answers,
    CalibrationSets,
    calibration_of,
    fit_temperatures,
    gather_answers,
    summarise,
)
from cmdfusion_ros.evaluation.metrics import RINGS, rings_of
from cmdfusion_ros.frame import IGNORE_LABEL, Frame

KNOWN = Temperatures(RING_CENTRES, (0.7, 1.0, 1.6, 2.5, 2.0))


def make_answers(num_points=60_000, temperatures=KNOWN, seed=0, farthest=80.0, weight=1.0):
    """Answers of a network whose labels are drawn with the chances that `temperatures` make of
    what it says.
    """
    rng = np.random.default_rng(seed)
    points = np.zeros((num_points, 3), np.float32)
    turn, distance = rng.uniform(-np.pi, np.pi, num_points), rng.uniform(0, farthest, num_points)
    points[:, 0], points[:, 1] = distance * np.cos(turn), distance * np.sin(turn)
    logits = rng.normal(0, 3, (num_points, 5))
    powers = np.exp(logits)
    probabilities = (powers / powers.sum(1, keepdims=True)).astype(np.float32)
    chances = temperatures.applied_to(probabilities, points)
    labels = (chances.cumsum(1) < rng.random((num_points, 1))).sum(1).clip(max=4).astype(np.uint8)
    return Answers(probabilities, labels, points, weight)


def test_known_temperatures_are_found():
    found = fit_temperatures([make_answers()])
    assert found.distances == RING_CENTRES
    np.testing.assert_allclose(found.values, KNOWN.values, rtol=0.12)


def test_a_network_that_is_as_sure_as_right_keeps_its_confidence():
    found = fit_temperatures([make_answers(temperatures=Temperatures((0.0,), (1.0,)))])
    np.testing.assert_allclose(found.values, 1.0, rtol=0.05)


def test_the_error_of_an_overconfident_network_falls_on_points_it_was_not_fitted_on():
    temperatures, others = fit_temperatures([make_answers()]), make_answers(seed=1)
    error = summarise([others], temperatures)
    assert error["ece_uncalibrated"] > 0.08 and error["ece"] < 0.015
    assert (
        error["points"] == 60_000
        and sum(entry["points"] for entry in error["by_distance"].values()) == 60_000
    )
    assert list(error["by_distance"]) == list(RINGS)
    for ring in ("0-10", "20-30", "30-50", "50-inf"):
        assert (
            error["by_distance"][ring]["ece"] < error["by_distance"][ring]["ece_uncalibrated"] / 2
        ), ring


def test_a_ring_without_points_has_the_overall_temperature_and_one_with_few_comes_near_it():
    near = make_answers(temperatures=Temperatures((0.0,), (2.0,)), farthest=20.0)
    found = fit_temperatures([near])
    np.testing.assert_allclose(found.values, 2.0, rtol=0.05)
    few = make_answers(50, temperatures=Temperatures((0.0,), (0.3,)), seed=3)
    few = Answers(few.probabilities, few.labels, few.points + np.float32([200, 0, 0]))
    far = fit_temperatures([near, few]).values[-1]
    assert abs(far - found.values[-1]) < 0.5  # of the 1.7 between it and its own


def test_perfect_answers_give_a_finite_temperature():
    answers = make_answers(2000)
    perfect = Answers(
        answers.probabilities, answers.probabilities.argmax(1).astype(np.uint8), answers.points
    )
    assert all(0.05 <= value < 1 for value in fit_temperatures([perfect]).values)


def test_answers_that_have_nothing_to_do_with_the_labels_are_refused():
    answers = make_answers(20_000)
    wrong = Answers(
        answers.probabilities, answers.probabilities.argmin(1).astype(np.uint8), answers.points
    )
    with pytest.raises(ValueError, match="nothing to do with these labels"):
        fit_temperatures([wrong])


def test_a_weight_is_as_good_as_giving_a_set_so_often():
    few, many = make_answers(3000, seed=4), make_answers(9000, Temperatures((0.0,), (1.0,)), seed=5)
    heavy = Answers(few.probabilities, few.labels, few.points, weight=3)
    assert fit_temperatures([heavy, many]) == fit_temperatures([few, few, few, many])
    once, thrice = (
        calibration_of([heavy, many], KNOWN),
        calibration_of([few, few, few, many], KNOWN),
    )
    assert once.to_dict()["ece"] == pytest.approx(thrice.to_dict()["ece"], abs=1e-5)


def test_the_minimum_is_one_that_a_search_finds_too():
    """Slow reference: no step along any axis makes the labels likelier."""
    answers = [make_answers(4000)]
    shares = [calibrate._shares(answers[0].points)]
    best = calibrate._newton(answers, shares, 1.0)
    least = calibrate._objective(answers, shares, 1.0, best)[0]
    for axis in range(len(best)):
        for step in (-0.01, 0.01):
            assert (
                calibrate._objective(answers, shares, 1.0, best + step * np.eye(len(best))[axis])[0]
                > least
            )


def test_the_gradient_is_that_of_differences():
    answers, inverse = [make_answers(500)], np.array([0.5, 0.9, 1.1, 0.7, 1.3])
    shares = [calibrate._shares(answers[0].points)]
    _, slope, curvature = calibrate._objective(answers, shares, 0.8, inverse)
    for axis in range(len(inverse)):
        step = 1e-5 * np.eye(len(inverse))[axis]
        (above, slope_above, _), (below, slope_below, _) = (
            calibrate._objective(answers, shares, 0.8, inverse + sign * step) for sign in (1, -1)
        )
        assert slope[axis] == pytest.approx((above - below) / 2e-5, rel=1e-4)
        np.testing.assert_allclose(
            curvature[axis], (slope_above - slope_below) / 2e-5, rtol=1e-4, atol=1e-3
        )


class Sure:
    """Says the same of every point."""

    def probabilities(self, frame, calibrated=True):
        assert not calibrated
        return np.tile(np.float32([0.75, 0.25]), (frame.num_points, 1)), np.zeros(
            frame.num_points, np.uint32
        )


def make_frame(num_points, ignored, name="made"):
    labels = np.zeros(num_points, np.uint8)
    labels[:ignored] = IGNORE_LABEL
    return Frame(
        np.full((num_points, 3), 5, np.float32),
        np.zeros(num_points, np.float32),
        labels=labels,
        name=name,
    )


def test_labelled_points_are_gathered_and_of_large_scans_a_part():
    answers = gather_answers(
        Sure(), [make_frame(30, 10), make_frame(30_000, 0, "large")], 2, weight=4
    )
    assert len(answers.labels) == 20 + 20_000 and not answers.labels.any() and answers.weight == 4
    assert answers.probabilities.shape == (20_020, 2) and (rings_of(answers.points) == 0).all()


def test_scans_without_labels_are_refused():
    with pytest.raises(
        ValueError, match="1 scans hold no labelled point; do `dataset` and the class map fit"
    ):
        gather_answers(Sure(), [make_frame(10, 10)], 1)
    bare = Frame(np.zeros((1, 3), np.float32), np.zeros(1, np.float32), name="bare")
    with pytest.raises(ValueError, match="frame bare: has no labels to calibrate on"):
        gather_answers(Sure(), [bare], 1)


def test_sets_are_read_strictly(tmp_path):
    (tmp_path / "sets.yaml").write_text(
        "sets:\n- {root: a, sequences: ['00'], repeat: 2}\n- {root: b, called: mine, sequences: "
        "['01']}\n"
    )
    sets = load_settings(CalibrationSets, tmp_path / "sets.yaml").sets
    assert [(data.root, data.repeat, data.called) for data in sets] == [
        ("a", 2, ""),
        ("b", 1, "mine"),
    ]
    (tmp_path / "none.yaml").write_text("sets: []\n")
    with pytest.raises(SettingsError, match="sets: expected at least one set of scans"):
        load_settings(CalibrationSets, tmp_path / "none.yaml")


@pytest.mark.parametrize("name", ["street", "flagship_nano"])
def test_the_shipped_lists_are_read(name):

    sets = load_settings(CalibrationSets, REPOSITORY / "config" / "calibrate" / f"{name}.yaml").sets
    assert all(load_class_map("street").folds[data.dataset] is not None for data in sets)
