"""The overlay image of a camera: its labelled points where they fall into the image. The tool to
see a wrong extrinsic or a time offset.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.frame import CameraView
from cmdfusion_ros.pictures import draw_labels

_MARGIN = 8  # pixels


def draw_overlay(
    view: CameraView, points: np.ndarray, labels: np.ndarray, class_map: ClassMap, caption: str
) -> np.ndarray:
    """The view's image, dimmed, with the labelled points in the colours of their classes and
    `caption` in the corner.

    A point in the image that has the wrong colour everywhere is a wrong label; colours that all sit
    beside their objects are a wrong extrinsic (at rest) or a wrong time_offset (in motion).

    Args:
        view: CameraView. points: (N, 3) float32, LiDAR frame. labels: (N,) uint8; IGNORE_LABEL is
            not drawn.
        class_map: ClassMap. caption: one line, for instance camera, offset and number of points.

    Returns:
        (H, W, 3) uint8 RGB, contiguous.
    """
    drawn, _ = draw_labels(view, points, labels, class_map)
    scale = max(0.4, drawn.shape[1] / 1600)
    (width, height), baseline = cv2.getTextSize(caption, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    corner = (_MARGIN, _MARGIN + height)
    drawn = np.ascontiguousarray(drawn)
    cv2.rectangle(
        drawn, (0, 0), (width + 2 * _MARGIN, height + baseline + 2 * _MARGIN), (0, 0, 0), cv2.FILLED
    )
    cv2.putText(
        drawn, caption, corner, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA
    )
    return drawn


def fill_image(
    message: Any, rgb: np.ndarray, header: Any, byte_array: Callable[[memoryview], Any]
) -> Any:
    """Fill an Image with (H, W, 3) uint8 RGB and return it.

    Args:
        message: an empty Image. header: that of the camera's image, so that the overlay has its
            stamp and optical frame.
        byte_array: makes what the message takes as data from a flat memoryview; for rclpy an
            array.array filled with `frombytes`.
    """
    message.header = header
    message.height, message.width = rgb.shape[:2]
    message.encoding, message.is_bigendian, message.step = "rgb8", 0, 3 * rgb.shape[1]
    message.data = byte_array(np.ascontiguousarray(rgb).reshape(-1).data)
    return message
