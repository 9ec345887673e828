"""The values that travel between rooms: one scan with its camera views, and the labels it was
given.

numpy only. Every value is checked where it is made, so that a room which receives one need not
check it again. Arrays are not copied: whoever makes a value must not write to its arrays
afterwards.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

IGNORE_LABEL = 255  # the label of a point without a class: never trained, never scored
MAX_CAMERAS = 32  # of the node: a camera is one bit of a Prediction's uint32 camera_mask


_IMAGES = "give (height, width, 3) RGB of 8 bits"


def require_array(
    name: str, array: object, shape: tuple[int | None, ...], dtype: Any, advice: str = ""
) -> None:
    """Raise ValueError unless `array` is a numpy array of `dtype` and `shape` (None in `shape`
    matches any length).
    """
    if not isinstance(array, np.ndarray):
        made = f"np.array(..., np.{np.dtype(dtype)})"
        advice = advice or f"use {'.cpu().numpy()' if hasattr(array, 'numpy') else made}"
        raise ValueError(
            f"{name}: expected a numpy array, got {type(array).__name__}{_then(advice)}"
        )
    matches = array.ndim == len(shape) and all(
        want is None or want == got for want, got in zip(shape, array.shape, strict=True)
    )
    if not matches:
        wanted = "(" + ", ".join("N" if want is None else str(want) for want in shape) + ")"
        if array.ndim == len(shape) == 2 and shape[0] is None and array.shape[0] == shape[1]:
            advice = advice or "use np.ascontiguousarray(array.T)"
        raise ValueError(f"{name}: expected shape {wanted}, got {array.shape}{_then(advice)}")
    if array.dtype != np.dtype(dtype):
        raise ValueError(
            f"{name}: expected dtype {np.dtype(dtype)}, got "
            f"{array.dtype}{_then(advice or f'use .astype(np.{np.dtype(dtype)})')}"
        )


def _then(advice: str) -> str:
    return f"; {advice}" if advice else ""


def require_rigid(name: str, transform: Any) -> None:
    """Raise ValueError unless `transform` is a (4, 4) float64 rigid transform (rotation part
    orthonormal, determinant +1).
    """
    require_array(name, transform, (4, 4), np.float64)
    if not np.isfinite(transform).all():
        raise ValueError(f"{name}: holds NaN or infinity")
    rotation = transform[:3, :3]
    error = np.abs(rotation @ rotation.T - np.eye(3)).max()
    if error > 1e-3 or np.linalg.det(rotation) < 0 or not np.allclose(transform[3], (0, 0, 0, 1)):
        raise ValueError(
            f"{name}: expected a rigid transform, got rotation error {error:.2g}, last row "
            f"{transform[3]}"
        )


@dataclass(frozen=True)
class Distortion:
    """How a lens bends rays, in ROS words (CameraInfo.distortion_model).

    Attributes:
        model: "plumb_bob" (k1, k2, p1, p2, k3), "rational_polynomial" (k1, k2, p1, p2, k3, k4, k5,
            k6) or "equidistant" (fisheye; k1..k4).
        coefficients: tuple of float; missing trailing ones are zero.
    """

    model: str
    coefficients: tuple = ()

    MODELS = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}

    def __post_init__(self) -> None:
        if self.model not in self.MODELS:
            raise ValueError(
                f"distortion: expected one of {', '.join(self.MODELS)}, got {self.model!r}"
            )
        if len(self.coefficients) > self.MODELS[self.model]:
            raise ValueError(
                f"distortion {self.model}: expected at most {self.MODELS[self.model]} "
                f"coefficients, got {len(self.coefficients)}"
            )
        if not np.isfinite(self.coefficients).all():
            raise ValueError(f"distortion {self.model}: coefficients hold NaN or infinity")


@dataclass(frozen=True)
class CameraView:
    """One image with what is needed to put LiDAR points into it.

    Attributes:
        name: the camera's name.
        image: (H, W, 3) uint8, RGB, as the sensor made it (not undistorted).
        intrinsic: (3, 3) float64, pixels, of `image` as it is now (after any crop or resize; a
            mirrored image has a negative focal length along u).
        camera_from_lidar: (4, 4) float64, rigid; takes LiDAR-frame coordinates to the optical frame
            (z forward, x right, y down).
        distortion: lens model, or None for a pinhole.
        stamp: int, nanoseconds; 0 where unknown.
        is_spoilt: whether training has made a picture of it that says nothing of the scene:
            networks see it, and nothing is learnt from its pixels.
    """

    name: str
    image: np.ndarray
    intrinsic: np.ndarray
    camera_from_lidar: np.ndarray
    distortion: Distortion | None = None
    stamp: int = 0
    is_spoilt: bool = False

    def __post_init__(self) -> None:
        where = f"camera {self.name}"
        require_array(f"{where}: image", self.image, (None, None, 3), np.uint8, _IMAGES)
        require_array(f"{where}: intrinsic", self.intrinsic, (3, 3), np.float64)
        if (
            not np.isfinite(self.intrinsic).all()
            or self.intrinsic[0, 0] == 0
            or self.intrinsic[1, 1] <= 0
        ):
            raise ValueError(
                f"{where}: intrinsic: expected finite values and positive focal lengths, got "
                f"{self.intrinsic.tolist()}; is it calibrated?"
            )
        require_rigid(f"{where}: camera_from_lidar", self.camera_from_lidar)

    @property
    def image_size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.image.shape[1], self.image.shape[0]


@dataclass(frozen=True)
class Frame:
    """One scan and the camera views that go with it; in training labels too.

    Attributes:
        points: (N, 3) float32, metres, LiDAR frame (x forward, y left, z up), finite. N may be 0.
        intensity: (N,) float32 in [0, 1]; zeros where the sensor gives none.
        stamp: int, nanoseconds.
        frame_id: name of the ROS coordinate frame of `points`; "" outside ROS.
        views: the CameraViews, in a fixed order of cameras; empty means LiDAR alone.
        labels: (N,) uint8, train ids or IGNORE_LABEL; None where unknown.
        instance_ids: (N,) uint16, equal for the points of one thing through a sequence and of no
            two things of one label, 0 for none; None where unknown.
        intensity_rank: (N,) float32 in [0, 1], the ranks of `intensity` in the whole scan
            (`intensity.intensity_rank`) where these points are a part of it; None = they are all.
        world_from_lidar: (4, 4) float64, rigid, pose of the scan; None where unknown.
        measured_points: (N, 3) float32, where the sensor saw the points that augmentation has moved
            since: what the views show, so what is projected into them. Rows of points that no
            sensor saw there (pasted ones) are NaN. None = `points`.
        origin: (N,) int32, where several clouds are made of one scan
            (`data/augment/scan_context.py`): each point's row in that scan, -1 for points of other
            scans; None elsewhere.
        name: where the frame came from ("sequences/00/000003"), for error messages.
    """

    points: np.ndarray
    intensity: np.ndarray
    stamp: int = 0
    frame_id: str = ""
    views: tuple = ()
    labels: np.ndarray | None = None
    instance_ids: np.ndarray | None = None
    intensity_rank: np.ndarray | None = None
    world_from_lidar: np.ndarray | None = None
    measured_points: np.ndarray | None = None
    origin: np.ndarray | None = None
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        where = f"frame {self.name}: " if self.name else ""
        require_array(
            f"{where}points",
            self.points,
            (None, 3),
            np.float32,
            "drop intensity first" if np.shape(self.points)[1:] == (4,) else "",
        )
        num_points = len(self.points)
        require_array(f"{where}intensity", self.intensity, (num_points,), np.float32)
        if not np.isfinite(self.points).all():
            raise ValueError(
                f"{where}points: hold NaN or infinity; remove those points and keep their rows"
            )
        if not np.isfinite(self.intensity).all():
            wrong = int((~np.isfinite(self.intensity)).sum())
            raise ValueError(
                f"{where}intensity: expected finite values, got {wrong} that are NaN or infinity; "
                "give 0 where the sensor gives none"
            )
        if self.labels is not None:
            require_array(f"{where}labels", self.labels, (num_points,), np.uint8)
        if self.instance_ids is not None:
            require_array(f"{where}instance_ids", self.instance_ids, (num_points,), np.uint16)
        if self.intensity_rank is not None:
            require_array(f"{where}intensity_rank", self.intensity_rank, (num_points,), np.float32)
        if self.world_from_lidar is not None:
            require_rigid(f"{where}world_from_lidar", self.world_from_lidar)
        if self.measured_points is not None:
            require_array(
                f"{where}measured_points", self.measured_points, (num_points, 3), np.float32
            )
        if self.origin is not None:
            require_array(f"{where}origin", self.origin, (num_points,), np.int32)
        views = self.views if isinstance(self.views, tuple | list) else (self.views,)
        wrong_view = next((each for each in views if not isinstance(each, CameraView)), None)
        if views is not self.views or wrong_view is not None:
            got = type(self.views if wrong_view is None else wrong_view).__name__
            raise ValueError(f"{where}views: expected a tuple of CameraView, got {got}")
        names = [view.name for view in self.views]
        if len(set(names)) != len(names):
            raise ValueError(f"{where}views: expected one view a camera, got {names}")

    @property
    def num_points(self) -> int:
        return len(self.points)


@dataclass(frozen=True)
class Prediction:
    """What a network says of each point of a Frame, in the Frame's order.

    Attributes:
        labels: (N,) uint8, train ids; never IGNORE_LABEL, every point gets a class.
        confidence: (N,) float32 in [0, 1], the largest class probability.
        camera_mask: (N,) uint32, bit i set where view i of the Frame gave this point image
            features; 0 = LiDAR alone.
    """

    labels: np.ndarray
    confidence: np.ndarray
    camera_mask: np.ndarray

    def __post_init__(self) -> None:
        num_points = len(self.labels)
        require_array("labels", self.labels, (num_points,), np.uint8)
        require_array("confidence", self.confidence, (num_points,), np.float32)
        require_array("camera_mask", self.camera_mask, (num_points,), np.uint32)
