"""A teacher's labels of images -> labels of the points that the cameras see."""

from dataclasses import dataclass

import cv2
import numpy as np

from cmdfusion_ros.config import check_settings, setting
from cmdfusion_ros.frame import IGNORE_LABEL, CameraView, Frame, Prediction
from cmdfusion_ros.geometry.occlusion import hidden_points
from cmdfusion_ros.geometry.projection import project_points
from cmdfusion_ros.image_teachers.teacher import ImageTeacher, PixelLabels

_IN_FRONT = 1.05  # times the nearest depth around: of the thing in front at an edge of labels


@dataclass(frozen=True)
class PointLabelSettings:
    """Which of a teacher's labels reach a point."""

    confidence: float = setting(0.6, "least probability of a label", minimum=0.0, maximum=1.0)
    margin: float = setting(
        0.004, "distance kept from edges between labels, of the image's width", minimum=0, maximum=1
    )
    max_range: float = setting(
        80.0, "no labels beyond: an error of the calibration moves far points most", "m", above=0.0
    )

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, eq=False)
class PointLabels:
    """What a teacher says of the points of a Frame, in its order.

    Attributes:
        labels: (N,) uint8 of the teacher's class map, IGNORE_LABEL where it says nothing.
        confidence: (N,) float32 in [0, 1], 0 where it says nothing.
        camera_mask: (N,) uint32, bit i set where view i gave the label.
    """

    labels: np.ndarray
    confidence: np.ndarray
    camera_mask: np.ndarray


def label_points(
    frame: Frame, answers: list[PixelLabels], settings: PointLabelSettings
) -> PointLabels:
    """The labels that `answers`, one PixelLabels a view of `frame`, give its points.

    A point takes a label where the camera really sees it (`hidden_points`), away from edges
    between labels except for what stands in front of them, and where the teacher is sure. Of
    several views that see a point the surest counts; where sure views disagree it has none.
    """
    number = frame.num_points
    labels = np.full(number, IGNORE_LABEL, np.uint8)
    confidence, mask = np.zeros(number, np.float32), np.zeros(number, np.uint32)
    disputed = np.zeros(number, bool)
    for place, (view, answer) in enumerate(zip(frame.views, answers, strict=True)):
        rows, found, sure = _labels_in_view(frame.points, view, answer, settings)
        known = labels[rows] != IGNORE_LABEL
        disputed[rows[known & (labels[rows] != found)]] = True
        better = sure > confidence[rows]
        labels[rows[better]], confidence[rows[better]] = found[better], sure[better]
        mask[rows[better]] = np.uint32(1 << place)
    labels[disputed], confidence[disputed], mask[disputed] = IGNORE_LABEL, 0.0, 0
    return PointLabels(labels, confidence, mask)


def _labels_in_view(
    points: np.ndarray, view: CameraView, answer: PixelLabels, settings: PointLabelSettings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rows of points, their labels, their confidence) of what one view says."""
    pixels, visible = project_points(
        points, view.intrinsic, view.camera_from_lidar, view.image_size, view.distortion
    )
    rows = np.flatnonzero(visible)
    depths = points[rows] @ view.camera_from_lidar[2, :3].astype(np.float32)
    depths += np.float32(view.camera_from_lidar[2, 3])
    seen = ~hidden_points(pixels[rows], depths, view.image_size)
    seen &= np.linalg.norm(points[rows], axis=1) <= settings.max_range
    rows, depths = rows[seen], depths[seen]
    height, width = answer.labels.shape
    scale = np.array([width, height]) / view.image_size
    place = ((pixels[rows] + 0.5) * scale).astype(np.int64)
    u, v = np.clip(place[:, 0], 0, width - 1), np.clip(place[:, 1], 0, height - 1)
    labels, confidence = answer.labels[v, u], answer.confidence[v, u]
    at_edge = _edges(answer.labels, max(round(settings.margin * width), 0))[v, u]
    good = (labels != IGNORE_LABEL) & (confidence >= settings.confidence)
    good &= ~at_edge | _in_front(u, v, depths, (width, height), settings.margin)
    return rows[good], labels[good], confidence[good]


def _edges(labels: np.ndarray, margin: int) -> np.ndarray:
    """(h, w) bool: another label lies within `margin` pixels."""
    if not margin:
        return np.zeros(labels.shape, bool)
    window = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    return cv2.dilate(labels, window) != cv2.erode(labels, window)


def _in_front(
    u: np.ndarray, v: np.ndarray, depths: np.ndarray, size: tuple[int, int], margin: float
) -> np.ndarray:
    """(P,) bool: nothing nearer lies around a point, so the label at an edge is its own: a network
    paints things a little too large, hardly ever too small."""
    cell = max(round(2 * margin * size[0]), 1)
    width, height = (-(-length // cell) for length in size)
    places = (v // cell) * width + u // cell
    nearest = np.full(height * width, np.inf, np.float32)
    np.minimum.at(nearest, places, depths.astype(np.float32))
    around = cv2.erode(nearest.reshape(height, width), np.ones((3, 3), np.uint8))
    return depths <= around.reshape(-1)[places] * _IN_FRONT


class TeacherSegmenter:
    """An ImageTeacher in the place of a Segmenter: labels the points that the views of a Frame see
    and leaves the others without one (IGNORE_LABEL, confidence 0).

    Args:
        teacher: ImageTeacher. settings: PointLabelSettings.
    """

    def __init__(self, teacher: ImageTeacher, settings: PointLabelSettings | None = None):
        self._teacher, self._settings = teacher, settings or PointLabelSettings()
        self.class_map = teacher.class_map

    def segment(self, frame: Frame) -> Prediction:
        """Frame -> Prediction, in the frame's order of points."""
        answers = [self._teacher.answer(view.image) for view in frame.views]
        found = label_points(frame, answers, self._settings)
        return Prediction(found.labels, found.confidence, found.camera_mask)
