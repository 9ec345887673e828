"""Whether images help is said over classes and scans enough, with an interval."""

import numpy as np
import pytest

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.evaluation.image_gain import MIN_CLASS_POINTS, MIN_SCANS, ImageGain

STREET = load_class_map("street")
ROAD, CAR, TERRAIN = (STREET.label(name) for name in ("road", "car", "terrain"))


def gain_of(scans):
    """Of scans given as (labels, right with images, right without), shares of right points."""
    gain, rng = ImageGain(STREET), np.random.default_rng(0)
    for labels, *shares in scans:
        answers = []
        for share in shares:
            wrong = rng.random(len(labels)) >= share
            answers.append(np.where(wrong, (labels + 1) % 12, labels).astype(np.uint8))
        gain.add(labels, *answers)
    return gain.to_dict()


def scan(terrain=0):
    counts = {ROAD: 1000, CAR: 500, TERRAIN: terrain}
    return np.repeat([*counts], [*counts.values()]).astype(np.uint8)


def test_a_class_of_few_points_does_not_decide():
    def with_rare(labels, images_find_it):
        gain = ImageGain(STREET)
        for number in range(MIN_SCANS):
            truth = scan(terrain=84 if number == 0 else 0)
            found = np.where(truth == TERRAIN, TERRAIN if images_find_it else ROAD, truth)
            other = np.where(truth == TERRAIN, ROAD if images_find_it else TERRAIN, truth)
            gain.add(truth, found.astype(np.uint8), other.astype(np.uint8))
        return gain.to_dict()

    for found in (True, False):
        result = with_rare(TERRAIN, found)
        assert result["classes"] == ["road", "car"]
        assert abs(result["miou"]) < 0.01  # 84 points taken for road; a third with terrain in it


@pytest.mark.parametrize("with_images, without, sign", [(0.95, 0.8, 1), (0.8, 0.95, -1)])
def test_a_clear_difference_has_an_interval_on_its_side_of_0(with_images, without, sign):
    result = gain_of([(scan(), with_images, without)] * 8)
    assert result["scans"] == 8
    assert sign * result["low"] > 0 and sign * result["high"] > 0
    assert result["low"] <= result["miou"] <= result["high"]


def test_scans_that_disagree_give_an_interval_around_0():
    result = gain_of([(scan(), *((0.95, 0.8) if odd else (0.8, 0.95))) for odd in [0, 1] * 4])
    assert result["low"] < 0 < result["high"]


def test_few_scans_have_no_interval_and_no_support_no_figure():
    few = gain_of([(scan(), 0.9, 0.8)] * (MIN_SCANS - 1))
    assert few["low"] is None and few["high"] is None and few["miou"] > 0
    assert ImageGain(STREET).to_dict() is None
    small = np.full(MIN_CLASS_POINTS // 10, ROAD, np.uint8)
    assert gain_of([(small, 1.0, 0.5)] * 5) is None
