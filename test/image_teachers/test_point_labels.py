"""A teacher's label reaches the points that the camera really sees, and no other."""

import numpy as np
import pytest

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.frame import IGNORE_LABEL, CameraView, Frame
from cmdfusion_ros.geometry.occlusion import hidden_points
from cmdfusion_ros.geometry.transforms import rigid
from cmdfusion_ros.image_teachers.point_labels import (
    PointLabelSettings,
    TeacherSegmenter,
    label_points,
)
from cmdfusion_ros.image_teachers.teacher import PixelLabels

STREET = load_class_map("street")
CAR, BUILDING, ROAD = (STREET.label(name) for name in ("car", "building", "road"))
LOOKS_AHEAD = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
WIDTH, HEIGHT, FOCAL = 1280, 640, 640.0
MIDDLE_U, MIDDLE_V = 639.5, 319.5
NO_MARGIN = PointLabelSettings(margin=0.0)


def camera(name="front", below=0.0) -> CameraView:
    """A camera that looks ahead from `below` metres under the LiDAR."""
    intrinsic = np.array([[FOCAL, 0, MIDDLE_U], [0, FOCAL, MIDDLE_V], [0, 0, 1]])
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    place = rigid(LOOKS_AHEAD, LOOKS_AHEAD @ np.array([0, 0, below]))
    return CameraView(name, image, intrinsic, place)


def wall(distance, half_width, low, high, step=0.03) -> np.ndarray:
    """Points of an upright wall across the view, as dense as a LiDAR's at 10 m."""
    step = step * distance / 10
    y, z = np.meshgrid(np.arange(-half_width, half_width, step), np.arange(low, high, step))
    return np.column_stack([np.full(y.size, distance), y.ravel(), z.ravel()]).astype(np.float32)


def frame_of(points, *views) -> Frame:
    return Frame(points, np.zeros(len(points), np.float32), views=views)


def all_one(label, confidence=0.9, size=(WIDTH, HEIGHT)) -> PixelLabels:
    shape = size[::-1]
    return PixelLabels(np.full(shape, label, np.uint8), np.full(shape, confidence, np.float32))


def test_what_a_camera_under_the_lidar_cannot_see_takes_no_label():
    """The LiDAR looks over a car at the house behind it; the camera a metre below sees the car
    where the house's lower part would be."""
    car, house = wall(8.0, 1.0, -1.5, -0.2), wall(16.0, 4.0, -0.3, 4.0)
    points = np.concatenate([car, house])
    found = label_points(frame_of(points, camera(below=1.0)), [all_one(CAR)], NO_MARGIN)
    # the camera at z = -1 sees over the car's top (z = -0.2 at 8 m) at z = 0.6 and above at 16 m
    behind = (points[:, 0] > 10) & (np.abs(points[:, 1]) < 1.6)
    assert (found.labels[: len(car)] == CAR).all()
    assert (found.labels[behind & (points[:, 2] < 0.2)] == IGNORE_LABEL).all()
    assert (found.labels[behind & (points[:, 2] > 1.0)] == CAR).all()


def test_a_road_that_is_looked_along_hides_nothing():
    distance, across = np.meshgrid(np.arange(4.0, 60.0, 0.5), np.arange(-4.0, 4.0, 0.1))
    road = np.column_stack([distance.ravel(), across.ravel(), np.full(distance.size, -1.7)])
    found = label_points(frame_of(road.astype(np.float32), camera()), [all_one(ROAD)], NO_MARGIN)
    inside = found.labels != IGNORE_LABEL
    assert inside[road[:, 0] > 5].all()


def test_few_beams_hide_too():
    """With 2 degrees between beams the gaps are 22 pixels: the test looks as far as they need."""
    elevations = np.radians(np.arange(-15, 16, 2.0))
    azimuths = np.radians(np.arange(-30, 30, 0.4))
    rays = np.stack(np.meshgrid(elevations, azimuths), -1).reshape(-1, 2)
    near = np.column_stack(
        [np.full(len(rays), 6.0), 6 * np.tan(rays[:, 1]), 6 * np.tan(rays[:, 0])]
    )
    near = near[np.abs(near[:, 1]) < 1.5]
    pixels = np.column_stack([MIDDLE_U - FOCAL * near[:, 1] / 6, MIDDLE_V - FOCAL * near[:, 2] / 6])
    far = pixels + np.array([0.0, 10.0])  # a farther wall seen through, between the beams
    middle = np.abs(far[:, 1] - MIDDLE_V) < 120
    middle &= np.abs(far[:, 0] - MIDDLE_U) < 120
    depths = np.concatenate([np.full(len(near), 6.0), np.full(len(far), 20.0)])
    hidden = hidden_points(np.concatenate([pixels, far]), depths, (WIDTH, HEIGHT))
    assert not hidden[: len(near)].any() and hidden[len(near) :][middle].all()
    assert len(hidden_points(np.zeros((0, 2)), np.zeros(0), (WIDTH, HEIGHT))) == 0


def test_at_the_edge_of_a_label_only_what_stands_in_front_keeps_it():
    """A network paints the car twelve pixels too wide: the house beside it must not become car."""
    car, house = wall(8.0, 1.0, -1.0, 1.0), wall(20.0, 12.0, -1.0, 4.0)
    points = np.concatenate([car, house])
    answer = all_one(BUILDING)
    columns = slice(round(MIDDLE_U - 80 - 12), round(MIDDLE_U + 80 + 12) + 1)  # 1 m at 8 m is 80
    answer.labels[round(MIDDLE_V - 92) : round(MIDDLE_V + 92) + 1, columns] = CAR
    with_margin = label_points(
        frame_of(points, camera()), [answer], PointLabelSettings(margin=0.015)
    )
    without = label_points(frame_of(points, camera()), [answer], NO_MARGIN)
    assert (without.labels[len(car) :] == CAR).sum() > 50
    assert (with_margin.labels[len(car) :] == CAR).sum() == 0
    assert (with_margin.labels[: len(car)] == CAR).mean() > 0.95


def test_unsure_labels_far_points_and_disagreeing_cameras_give_none():
    points = np.array([[10.0, 0, 0], [90.0, 2, 0]], np.float32)
    front, other = camera(), camera("other")
    near_only = label_points(frame_of(points, front), [all_one(CAR)], NO_MARGIN)
    assert near_only.labels.tolist() == [CAR, IGNORE_LABEL]
    unsure = label_points(frame_of(points, front), [all_one(CAR, 0.5)], NO_MARGIN)
    assert (unsure.labels == IGNORE_LABEL).all() and (unsure.confidence == 0).all()
    both = frame_of(points, front, other)
    agree = label_points(both, [all_one(CAR, 0.7), all_one(CAR, 0.9)], NO_MARGIN)
    assert agree.labels[0] == CAR and agree.confidence[0] == pytest.approx(0.9)
    assert agree.camera_mask.tolist() == [2, 0]
    differ = label_points(both, [all_one(CAR), all_one(BUILDING)], NO_MARGIN)
    assert (differ.labels == IGNORE_LABEL).all() and (differ.camera_mask == 0).all()


def test_an_answer_of_another_size_than_the_image_covers_the_same_view():
    points = np.array([[10.0, 5, 0], [10.0, -5, 0]], np.float32)  # left and right in the image
    answer = all_one(CAR, size=(32, 16))
    answer.labels[:, 16:] = BUILDING
    found = label_points(frame_of(points, camera()), [answer], NO_MARGIN)
    assert found.labels.tolist() == [CAR, BUILDING]


def test_a_teacher_in_the_place_of_a_network_labels_what_it_sees():
    class OneClass:
        name, class_map = "one class", STREET

        def answer(self, image):
            return all_one(CAR, size=(image.shape[1], image.shape[0]))

    points = np.array([[10.0, 0, 0], [-10.0, 0, 0]], np.float32)
    prediction = TeacherSegmenter(OneClass()).segment(frame_of(points, camera()))
    assert prediction.labels.tolist() == [CAR, IGNORE_LABEL]
    assert prediction.confidence.tolist() == pytest.approx([0.9, 0.0])
    assert prediction.camera_mask.tolist() == [1, 0]
    empty = TeacherSegmenter(OneClass()).segment(frame_of(points[:0]))
    assert len(empty.labels) == 0
