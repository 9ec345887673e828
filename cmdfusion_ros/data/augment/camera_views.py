"""Changes of camera views that leave their meaning: pure functions CameraView -> CameraView.
Image and intrinsic change together.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cmdfusion_ros.frame import CameraView
from cmdfusion_ros.geometry.projection import project_points
from cmdfusion_ros.geometry.transforms import rigid, rotation_from_quaternion
from cmdfusion_ros.geometry.uv import UVTransform


def drop_views(
    views: Sequence[CameraView], chance: float, rng: np.random.Generator
) -> tuple[CameraView, ...]:
    """Leave each of some views out with probability `chance`, as a camera that fails does; all may
    go.
    """
    return tuple(view for view in views if rng.random() >= chance)


def mirror(view: CameraView) -> CameraView:
    """Exchange left and right."""
    return _changed(view, view.image[:, ::-1], UVTransform.mirror(view.image_size))


def crop(view: CameraView, left: int, top: int, size: tuple[int, int]) -> CameraView:
    """The part of an image of this `size` (width, height) whose first pixel is (left, top)."""
    return _changed(
        view,
        view.image[top : top + size[1], left : left + size[0]],
        UVTransform.crop(left, top, size),
    )


def random_crop(view: CameraView, largest: float, rng: np.random.Generator) -> CameraView:
    """Cut away up to the fraction `largest` of each side, at a random place."""
    size = tuple(max(1, round(side * (1 - rng.uniform(0.0, largest)))) for side in view.image_size)
    left, top = (
        int(rng.integers(0, side - kept + 1))
        for side, kept in zip(view.image_size, size, strict=True)
    )
    return crop(view, left, top, size)


def change_colours(view: CameraView, gains: np.ndarray, contrast: float) -> CameraView:
    """Multiply red, green and blue by `gains` (3,), and each pixel's distance from the image's
    mean grey by `contrast`.
    """
    image = view.image.astype(np.float32) * np.asarray(gains, np.float32)
    grey = image.mean()
    return replace(
        view,
        image=np.clip(np.rint(grey + (image - grey) * np.float32(contrast)), 0, 255).astype(
            np.uint8
        ),
    )


def change_brightness(view: CameraView, gamma: float) -> CameraView:
    """Raise every colour, as a part of full scale, to the power `gamma`: above 1 darker, below 1
    brighter, black and white stay.
    """
    table = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return replace(view, image=table[view.image])


def blank(view: CameraView, level: int) -> CameraView:
    """A spoilt image that says nothing: every colour of every pixel is `level`, 0 to 255."""
    return replace(view, image=np.full_like(view.image, level), is_spoilt=True)


def shuffle_parts(
    view: CameraView, rng: np.random.Generator, rows: int = 3, columns: int = 6
) -> CameraView:
    """Exchange the parts of an image at random, `rows` x `columns` of one size; what is left over
    at the right and lower edge stays.

    A spoilt image: it looks like a street and says of no point what is there, as one of a camera
    with a wrong calibration, or a late one.
    """
    width, height = view.image_size[0] // columns, view.image_size[1] // rows
    inner = view.image[: rows * height, : columns * width]
    parts = (
        inner.reshape(rows, height, columns, width, 3)
        .swapaxes(1, 2)
        .reshape(rows * columns, height, width, 3)
    )
    parts = parts[rng.permutation(len(parts))]
    image = view.image.copy()
    image[: rows * height, : columns * width] = (
        parts.reshape(rows, columns, height, width, 3).swapaxes(1, 2).reshape(inner.shape)
    )
    return replace(view, image=image, is_spoilt=True)


def misplace(view: CameraView, turn: np.ndarray, shift: np.ndarray) -> CameraView:
    """A view whose calibration is wrong: the camera is turned about its axes by `turn` (3,) radians
    and moved along them by `shift` (3,) metres from where the
    view says it is. So are cameras whose mount was knocked, and those of a platform that moves
    on between cloud and image.
    """
    angle = float(np.linalg.norm(turn))
    axis = np.asarray(turn) / max(angle, 1e-12)
    rotation = rotation_from_quaternion([*(axis * np.sin(angle / 2)), np.cos(angle / 2)])
    return replace(
        view,
        camera_from_lidar=rigid(rotation, np.asarray(shift, np.float64)) @ view.camera_from_lidar,
    )


def sees_any(view: CameraView, points: np.ndarray) -> bool:
    """Whether any of the points (N, 3), metres, LiDAR frame, falls into the image."""
    return bool(
        project_points(
            points, view.intrinsic, view.camera_from_lidar, view.image_size, view.distortion
        )[1].any()
    )


def _changed(view, image, uv):
    return replace(view, image=image, intrinsic=uv.of_intrinsic(view.intrinsic))
