"""Which scans are worth a person's time."""

import numpy as np
import pytest

from cmdfusion_ros.frame import IGNORE_LABEL, Prediction
from cmdfusion_ros.labelling.worth_labelling import descriptor, uncertainty, worth_labelling


def answer(labels, confidence):
    labels = np.array(labels, np.uint8)
    return Prediction(labels, np.array(confidence, np.float32), np.zeros(len(labels), np.uint32))


def test_of_many_alike_the_strange_ones_are_taken():
    rng = np.random.default_rng(0)
    descriptors = rng.normal(0, 0.01, (40, 5))
    descriptors[[7, 23, 31]] += np.eye(5)[:3]
    assert {7, 23, 31} <= set(worth_labelling(descriptors, np.full(40, 0.2), 4))


def test_of_two_as_strange_the_less_sure_one_is_taken():
    descriptors = np.array([[0.0, 0], [0, 0], [1, 0], [0, 1]])
    assert worth_labelling(descriptors, np.array([0.5, 0.5, 0.1, 0.2]), 2) == [0, 3]


def test_where_nothing_is_unsure_the_scans_are_spread_and_none_comes_twice():
    descriptors = np.arange(10.0)[:, None]
    assert worth_labelling(descriptors, np.zeros(10), 3) == [0, 4, 9]
    assert worth_labelling(np.zeros((6, 2)), np.zeros(6), 4) == [0, 1, 2, 3]
    assert worth_labelling(descriptors, np.zeros(10), 99) == list(range(10))


def test_unlabelled_points_count_for_no_class_and_no_doubt():
    prediction = answer([0, 0, 1, IGNORE_LABEL], [0.9, 0.7, 0.8, 0.0])
    assert uncertainty(prediction) == pytest.approx(0.2)
    points = np.array([[3.0, 0, 0], [3, 0, 0], [50, 0, 0], [1, 0, 0]], np.float32)
    found = descriptor(points, prediction, 3)
    np.testing.assert_allclose(found[:3] ** 2, [2 / 3, 1 / 3, 0], atol=1e-12)
    assert found[3:11] @ found[3:11] == pytest.approx(1)
    assert uncertainty(answer([], [])) == 0
    assert not descriptor(np.zeros((0, 3), np.float32), answer([], []), 3).any()
