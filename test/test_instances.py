"""Boxes around things, against things made by hand."""

import numpy as np
import pytest

from cmdfusion_ros.instances import MIN_POINTS, Box, find_instances

CAR, PERSON, ROAD = 8, 11, 0
THINGS = (CAR, PERSON)


def block(centre, size, yaw=0.0, step=0.25):
    """Points on a grid that fills an upright box, its faces included."""
    axes = [np.linspace(-s / 2, s / 2, max(2, round(s / step) + 1)) for s in size]
    local = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    c, s = np.cos(yaw), np.sin(yaw)
    return (local @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T + centre).astype(np.float32)


def boxes_of(*parts):
    """Boxes of [(points, label), ...], shuffled."""
    points = np.concatenate([points for points, _ in parts])
    labels = np.concatenate([np.full(len(points), label, np.uint8) for points, label in parts])
    order = np.random.default_rng(0).permutation(len(points))
    return find_instances(points[order], labels[order], THINGS)


@pytest.mark.parametrize("degrees", [0, 30, 45, 77, 90, -20, -89])
def test_a_turned_car_gets_its_box_back(degrees):
    points = block((20, -5, -0.5), (4.5, 1.8, 1.5), np.radians(degrees))
    (box,) = boxes_of((points, CAR))
    assert box.label == CAR and box.num_points == len(points)
    assert np.allclose(box.centre, (20, -5, -0.5), atol=0.05)
    assert np.allclose(box.size, (4.5, 1.8, 1.5), atol=0.1)
    turn = np.degrees(box.yaw) - degrees
    assert abs((turn + 90) % 180 - 90) <= 1 and -np.pi / 2 < box.yaw <= np.pi / 2


def test_two_cars_side_by_side_are_two_boxes_the_fuller_one_first():
    boxes = boxes_of(
        (block((10, 2, 0), (4, 1.8, 1.5), step=0.3), CAR),
        (block((10, 5.2, 0), (4, 1.8, 1.5), step=0.2), CAR),
    )
    assert [round(box.centre[1], 1) for box in boxes] == [5.2, 2.0]


def test_a_person_in_front_of_a_car_is_a_thing_of_its_own():
    boxes = boxes_of(
        (block((10, 0, 0), (4, 1.8, 1.5)), CAR),
        (block((12.2, 0, 0), (0.4, 0.6, 1.7), step=0.15), PERSON),
    )
    assert [box.label for box in boxes] == [CAR, PERSON]


def test_a_chain_of_cells_that_winds_is_one_thing():
    """A spiral: its cells hang together only through many steps."""
    turn = np.linspace(0, 8 * np.pi, 3000)
    points = np.stack([turn * np.cos(turn), turn * np.sin(turn), np.zeros_like(turn)], 1).astype(
        np.float32
    )
    (box,) = boxes_of((points, CAR))
    assert box.num_points == 3000


def test_what_hangs_together_equals_a_slow_flood_fill():
    rng = np.random.default_rng(5)
    points = rng.uniform(-12, 12, (900, 3)).astype(np.float32)
    waiting = {tuple(cell) for cell in np.floor(points[:, :2] / 0.4).astype(int)}
    counts = []
    while waiting:
        edge, group = [waiting.pop()], []
        while edge:
            x, y = edge.pop()
            group.append((x, y))
            near = {(x + dx, y + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)} & waiting
            waiting -= near
            edge += near
        members = {tuple(cell) for cell in group}
        counts.append(
            sum(tuple(cell) in members for cell in np.floor(points[:, :2] / 0.4).astype(int))
        )
    boxes = find_instances(points, np.full(900, CAR, np.uint8), THINGS)
    assert [box.num_points for box in boxes] == sorted(
        (count for count in counts if count >= MIN_POINTS), reverse=True
    )


def test_stuff_and_unlabelled_points_get_no_box():
    assert boxes_of((block((5, 0, 0), (9, 9, 0.1)), ROAD), (block((5, 0, 1), (2, 2, 2)), 255)) == []


def test_too_few_points_are_no_thing():
    few = block((5, 0, 0), (0.3, 0.3, 0.3), step=0.3)[: MIN_POINTS - 1]
    assert boxes_of((few, CAR)) == []
    assert [box.num_points for box in boxes_of((few, CAR), (block((9, 9, 0), (1, 1, 1)), CAR))] == [
        125
    ]


def test_points_on_one_spot_give_a_box_without_size():
    (box,) = boxes_of((np.full((MIN_POINTS, 3), 7, np.float32), PERSON))
    assert box == Box(
        PERSON, (7.0, 7.0, 7.0), (0.0, 0.0, 0.0), box.yaw, MIN_POINTS
    ) and np.isfinite(box.yaw)


def test_no_points_and_no_thing_classes_give_no_boxes():
    assert find_instances(np.zeros((0, 3), np.float32), np.zeros(0, np.uint8), THINGS) == []
    assert find_instances(np.zeros((20, 3), np.float32), np.full(20, CAR, np.uint8), ()) == []
