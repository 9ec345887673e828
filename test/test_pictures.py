"""Pictures: points land on the right pixels, the nearest on top, and a whole picture is a valid
PNG.
"""

import cv2
import numpy as np
import pytest

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.frame import IGNORE_LABEL, CameraView
from cmdfusion_ros.geometry.transforms import rigid
from cmdfusion_ros.pictures import (
    BACKGROUND,
    CameraPicture,
    bird_eye,
    chase_view,
    draw_labels,
    draw_points,
    save_scan_picture,
    view_reach,
)

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
OPTICAL_FROM_LIDAR = rigid(np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]), (0.0, 0.0, 0.0))


def test_the_nearest_of_two_points_on_one_pixel_is_seen_and_the_image_stays_as_it_was():
    blank = np.zeros((5, 7, 3), np.uint8)
    pixels = np.array([[3.0, 2.0], [3.2, 1.9], [0.0, 4.0]])
    drawn = draw_points(
        blank, pixels, np.array([5.0, 9.0, 1.0]), np.array([RED, GREEN, BLUE], np.uint8), radius=0
    )
    assert drawn[2, 3].tolist() == list(RED) and drawn[4, 0].tolist() == list(BLUE)
    assert drawn.any(axis=2).sum() == 2 and not blank.any()


def test_discs_are_round_and_cut_off_at_the_edge():
    drawn = draw_points(
        np.zeros((9, 9, 3), np.uint8),
        np.array([[4.0, 4.0]]),
        np.zeros(1),
        np.array([RED], np.uint8),
        radius=2,
    )
    lit = drawn[:, :, 0] > 0
    assert lit[4, 2:7].all() and lit[2:7, 4].all() and not lit[2, 2] and np.array_equal(lit, lit.T)
    corner = draw_points(
        np.zeros((9, 9, 3), np.uint8),
        np.array([[0.0, 0.0], [20.0, 3.0]]),
        np.zeros(2),
        np.array([RED, RED], np.uint8),
        radius=2,
    )
    assert corner[0, 0, 0] == 255 and corner[:, -1].sum() == 0


def test_a_disc_of_a_far_point_does_not_cover_a_near_one():
    pixels, depth = np.array([[4.0, 4.0], [5.0, 4.0]]), np.array([2.0, 50.0])
    drawn = draw_points(
        np.zeros((9, 9, 3), np.uint8), pixels, depth, np.array([RED, GREEN], np.uint8), radius=1
    )
    assert (
        drawn[4, 4].tolist() == list(RED)
        and drawn[4, 5].tolist() == list(RED)
        and drawn[4, 6].tolist() == list(GREEN)
    )


def test_in_the_birds_eye_view_forward_is_up_and_left_is_left():
    points = np.array([[9.0, 0, 0], [0, 9, 0], [0, 0, 0], [30, 0, 0]], np.float32)
    view = bird_eye(points, np.array([RED, GREEN, BLUE, RED], np.uint8), reach=10, size=100)
    rows, columns = np.nonzero((view == RED).all(axis=2))
    assert rows.mean() == pytest.approx(4.5, abs=1) and columns.mean() == pytest.approx(49.5, abs=1)
    rows, columns = np.nonzero((view == GREEN).all(axis=2))
    assert rows.mean() == pytest.approx(49.5, abs=1) and columns.mean() == pytest.approx(4.5, abs=1)
    assert tuple(view[0, 0]) == BACKGROUND


def test_labels_are_drawn_where_the_camera_sees_them_and_ignored_ones_are_not():
    class_map = load_class_map("street")
    view = CameraView(
        "front",
        np.full((40, 60, 3), 100, np.uint8),
        np.array([[30.0, 0, 30], [0, 30, 20], [0, 0, 1]]),
        OPTICAL_FROM_LIDAR,
    )
    points = np.array([[10, 0, 0], [10, 5, 0], [-10, 0, 0], [10, -5, 0]], np.float32)
    labels = np.array(
        [class_map.label("car"), class_map.label("road"), class_map.label("car"), IGNORE_LABEL],
        np.uint8,
    )
    drawn, count = draw_labels(view, points, labels, class_map, radius=0)
    assert count == 2  # the one behind and the ignored one are not drawn
    assert tuple(drawn[20, 30]) == class_map.classes[class_map.label("car")].color
    # left is at smaller u
    assert tuple(drawn[20, 15]) == class_map.classes[class_map.label("road")].color
    assert drawn[0, 0].tolist() == [60, 60, 60]  # dimmed


def test_the_reach_holds_most_points_in_whole_tens():
    assert view_reach(np.zeros((0, 3), np.float32)) == 20
    assert view_reach(np.array([[33.0, 0, 0]] * 10, np.float32)) == 40
    assert view_reach(np.array([[500.0, 0, 0]] * 10, np.float32)) == 80


def test_the_view_from_behind_shows_what_lies_ahead():
    ahead = chase_view(
        np.array([[20.0, 0, 0]], np.float32), np.array([RED], np.uint8), size=(80, 60)
    )
    assert (ahead == RED).all(axis=2).any()
    assert (
        not (
            chase_view(
                np.array([[-30.0, 0, 0]], np.float32), np.array([RED], np.uint8), size=(80, 60)
            )
            == RED
        )
        .all(axis=2)
        .any()
    )


@pytest.mark.parametrize("num_cameras", [0, 5])
def test_a_whole_picture_is_written_for_any_number_of_cameras(tmp_path, num_cameras):
    class_map = load_class_map("street")
    rng = np.random.default_rng(0)
    points = rng.uniform(-20, 20, (500, 3)).astype(np.float32)
    labels = rng.integers(0, class_map.num_classes, 500).astype(np.uint8)
    labels[:10] = IGNORE_LABEL
    cameras = [
        CameraPicture(f"camera {index}", np.full((54, 96, 3), 20 * index, np.uint8), "7 points")
        for index in range(num_cameras)
    ]
    save_scan_picture(
        tmp_path / "scan.png", points, labels, class_map, cameras, "title", "subtitle"
    )
    picture = cv2.imread(str(tmp_path / "scan.png"))
    assert picture.shape == (1080, 1920, 3) and picture[90:990].std() > 5


def test_an_empty_scan_gives_an_empty_picture(tmp_path):
    save_scan_picture(
        tmp_path / "scan.png",
        np.zeros((0, 3), np.float32),
        np.zeros(0, np.uint8),
        load_class_map("semantic_kitti"),
        title="nothing",
    )
    assert cv2.imread(str(tmp_path / "scan.png")).shape == (1080, 1920, 3)
