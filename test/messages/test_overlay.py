"""The overlay: the right colour at the right pixel, the rest of the image still to be seen."""

from types import SimpleNamespace

import numpy as np
import pytest

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.frame import IGNORE_LABEL, CameraView
from cmdfusion_ros.messages.overlay import draw_overlay, fill_image

CLASS_MAP = load_class_map("street")
CAMERA_FROM_LIDAR = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])


@pytest.fixture
def view():
    image = np.full((480, 640, 3), 100, np.uint8)
    image.flags.writeable = False  # as decoded images may be
    return CameraView(
        "front", image, np.array([[300.0, 0, 320], [0, 300.0, 240], [0, 0, 1]]), CAMERA_FROM_LIDAR
    )


def test_a_point_is_drawn_in_its_class_colour_where_it_is_seen(view):
    # u = 320 + 300 * 0.2, v = 240 + 300 * 0.1
    points = np.array([[10.0, -2.0, -1.0], [10.0, 2.0, -1.0]], np.float32)
    labels = np.array([CLASS_MAP.label("car"), IGNORE_LABEL], np.uint8)
    drawn = draw_overlay(view, points, labels, CLASS_MAP, "front")
    assert drawn.shape == view.image.shape and drawn.dtype == np.uint8
    np.testing.assert_array_equal(drawn[270, 380], CLASS_MAP.colors[labels[0]])
    assert 0 < drawn[270, 260, 0] < 100  # a point without a label is not drawn: the image, dimmed


def test_the_caption_stands_in_the_corner(view):
    drawn = draw_overlay(
        view,
        np.zeros((0, 3), np.float32),
        np.zeros(0, np.uint8),
        CLASS_MAP,
        "front -3 ms 120 points",
    )
    assert drawn[:20, :150].max() > 200
    assert (drawn[100:] == drawn[100, 0]).all()


def test_an_image_message_takes_it():
    rgb = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8)
    message = fill_image(
        SimpleNamespace(), rgb[:, ::-1], header="header of the camera", byte_array=bytes
    )
    assert (message.header, message.height, message.width, message.encoding, message.step) == (
        "header of the camera",
        3,
        4,
        "rgb8",
        12,
    )
    np.testing.assert_array_equal(
        np.frombuffer(message.data, np.uint8).reshape(3, 4, 3), rgb[:, ::-1]
    )
