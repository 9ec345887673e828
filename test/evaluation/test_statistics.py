"""Tests of differences, against tables and by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.evaluation.statistics import (
    bootstrap_difference,
    holm,
    miou_of_counts,
    p_of_more,
    t_interval,
    t_quantile,
    t_tail,
)
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.training.ablation_summary import hard_classes
from cmdfusion_ros.training.street_counts import StreetCounts


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.706), (2, 4.303), (4, 2.776), (9, 2.262), (29, 2.045)]
)
def test_quantiles_are_those_of_the_tables(freedom, quantile):
    assert t_quantile(0.975, freedom) == pytest.approx(quantile, abs=1e-3)
    assert t_tail(quantile, freedom) == pytest.approx(0.025, abs=1e-4)
    assert t_tail(-quantile, freedom) == pytest.approx(0.975, abs=1e-4)


def test_two_standard_errors_of_three_seeds_are_no_proof():
    values = [0.0, 1.0, 2.0]  # mean 1, standard error 0.577
    values = [value + 2 * np.std(values, ddof=1) / np.sqrt(3) - 1 for value in values]
    assert np.mean(values) == pytest.approx(2 * np.std(values, ddof=1) / np.sqrt(3))
    assert 2 * p_of_more(values, 0.0) == pytest.approx(0.184, abs=1e-3)
    low, high = t_interval(values)
    assert low < 0 < high


def test_one_seed_says_nothing_and_equal_ones_everything():
    assert t_interval([1.0]) is None and p_of_more([1.0], 0.0) is None
    assert p_of_more([1.0, 1.0], 0.5) == 0.0 and p_of_more([1.0, 1.0], 1.0) == 1.0


def test_holm_raises_the_smallest_most_and_keeps_the_order():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.5, 0.9]), [1.0, 1.0])
    assert holm([]) == []


def test_mean_iou_of_counts_is_that_of_the_metric():
    counts = np.array([[[6, 2, 0, 0], [1, 3, 0, 1], [0, 0, 0, 0]]])
    # IoU 6 / 9 and 3 / 7; the third class has nothing
    assert miou_of_counts(counts, np.arange(3))[0] == pytest.approx((6 / 9 + 3 / 7) / 2)
    assert miou_of_counts(counts, np.array([1]))[0] == pytest.approx(3 / 7)
    assert miou_of_counts(counts, np.array([2]))[0] == 0.0


def test_a_difference_that_hangs_on_one_street_is_not_sure():
    right, wrong = np.array([[10, 0, 0], [0, 10, 0]]), np.array([[10, 0, 0], [10, 0, 0]])
    everywhere = np.stack([[right] * 8] * 2)
    nowhere = np.stack([[wrong] * 8] * 2)
    low, high = bootstrap_difference(everywhere, nowhere, np.arange(2), draws=200)
    assert low == high == pytest.approx(0.75)  # 1 against (1 / 2 + 0) / 2
    one = nowhere.copy()
    one[:, 3] = right
    low, high = bootstrap_difference(one, nowhere, np.arange(2), draws=200)
    assert low == 0.0 < high


def test_streets_are_counted_with_and_without_cameras_and_things_once():
    class_map = load_class_map("street")
    labels = np.array([8, 8, 11, 255], np.uint8)
    ids = np.array([3, 3, 5, 0], np.uint16)
    points, zeros = np.zeros((4, 3), np.float32), np.zeros(4, np.float32)
    streets = StreetCounts(class_map)
    for street, scan in (("00", 0), ("00", 1), ("01", 0)):
        frame = Frame(
            points, zeros, labels=labels, instance_ids=ids, name=f"set/{street}/{scan:06d}"
        )
        streets(frame, 2, 2, labels)
        streets(frame, 1, 2, labels)
        streets(frame, 0, 2, np.zeros(4, np.uint8))
    found = streets.to_dict()
    assert found["streets"] == ["set/00", "set/01"]
    assert found["things"]["car"] == 2 and found["things"]["person"] == 2
    counts, without = (np.array(found["counts"][key]) for key in ("all", "0"))
    assert counts.sum() == 9 and np.trace(counts.sum(0)) == 9
    assert without[0, 8, 0] == 4 and without[1, 11, 0] == 1


def test_classes_of_few_things_are_not_among_the_hard_ones():
    result = {"points": {"person": 9, "truck": 5, "bicycle": 0}}
    ablation = SimpleNamespace(hard=("person", "truck", "bicycle"), least_things=30)
    assert hard_classes(ablation, result) == ["person", "truck"]
    things = {"person": 30, "truck": 29, "bicycle": 0}
    counted = {**result, "by_street": {"things": things}}
    assert hard_classes(ablation, counted) == ["person"]
