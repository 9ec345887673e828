"""CameraInfo messages and camera_calibration files -> intrinsic, lens model, image size, and
from a file the extrinsic too.
"""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from cmdfusion_ros.config import SettingsError, load_yaml
from cmdfusion_ros.frame import Distortion, require_rigid
from cmdfusion_ros.messages.clouds import MessageError

_MAX_SIZE = 65_535  # pixels a side


@dataclass(frozen=True)
class CalibrationFile:
    """What a calibration file says of one camera.

    Attributes:
        intrinsic: (3, 3) float64, pixels. distortion: Distortion or None. image_size: (width,
            height) in pixels.
        camera_from_lidar: (4, 4) float64, rigid, LiDAR frame to optical frame; None where the file
            gives no extrinsic.
        camera_name: as the file says, "" where it does not.
    """

    intrinsic: np.ndarray
    distortion: Distortion | None
    image_size: tuple
    camera_from_lidar: np.ndarray | None = None
    camera_name: str = ""


def read_camera_info(
    message: Any, rectified: bool = False
) -> tuple[np.ndarray, Distortion | None, tuple[int, int]]:
    """sensor_msgs/CameraInfo -> how the camera's images, as they are published, see the world.

    K and P are of the full-resolution image; the region of interest and then the binning of the
    driver are applied here, with pixel centres at
    whole numbers: u' = (u - x_offset + 0.5) / binning - 0.5.

    With `rectified` the images are the undistorted ones (`image_rect`): P is the intrinsic and D no
    longer applies. The fourth column of P (a
    stereo baseline) is left aside: the extrinsic is that of the image's own frame_id, whose origin
    is this camera's optical centre.

    Args:
        message: CameraInfo.
        rectified: whether the images that go with it are rectified.

    Returns:
        intrinsic: (3, 3) float64, pixels.
        distortion: Distortion, or None for a pinhole (rectified, no model, or all coefficients
            zero; a fisheye with zeros is still a fisheye).
        image_size: (width, height) in pixels of the published image.

    Raises:
        MessageError: uncalibrated (K[0] = 0, as the message defines it), not finite, no size, or a
            lens model that we do not know.
    """
    intrinsic = (
        _matrix("P", message.p, (3, 4))[:, :3] if rectified else _matrix("K", message.k, (3, 3))
    )
    name = "P" if rectified else "K"
    if intrinsic[0, 0] == 0:
        raise MessageError(
            f"camera_info: {name}[0] is 0: the camera is uncalibrated; run camera_calibration, or "
            "give a calibration_file"
        )
    if (
        not np.isfinite(intrinsic).all()
        or intrinsic[0, 0] < 0
        or intrinsic[1, 1] <= 0
        or tuple(intrinsic[2]) != (0, 0, 1)
    ):
        raise MessageError(
            f"camera_info: {name}: expected finite values, positive focal lengths and a last row "
            f"0 0 1, got {intrinsic.tolist()}"
        )
    distortion = None if rectified else _distortion(message.distortion_model, message.d)
    return _as_published(intrinsic, message), distortion, _published_size(message)


def _matrix(name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.size != shape[0] * shape[1]:
        raise MessageError(
            f"camera_info: {name}: expected {shape[0] * shape[1]} numbers, got {values.size}"
        )
    return values.reshape(shape).copy()


def _distortion(model: str, coefficients: Any) -> Distortion | None:
    coefficients = tuple(float(value) for value in coefficients)
    if model in ("", "none") and not any(coefficients):
        return None
    count = Distortion.MODELS.get(model, len(coefficients))
    if not any(coefficients[count:]):
        # OpenCV writes 12 or 14 (thin prism and tilt, unused), some drivers 5 or 8 for every model
        coefficients = coefficients[:count]
    try:
        distortion = Distortion(model, coefficients)
    except ValueError as error:
        raise MessageError(
            f"camera_info: {error}; rectify the images (image_proc) and set rectified, or "
            "calibrate with a known model"
        ) from error
    return distortion if any(coefficients) or model == "equidistant" else None


def _window(message: Any) -> tuple[Any, Any]:
    """(x_offset, y_offset, width, height) of the region of interest in full-resolution pixels,
    and (binning_x, binning_y).
    """
    full_width, full_height, roi = int(message.width), int(message.height), message.roi
    # 0: all of it
    window = (
        int(roi.x_offset),
        int(roi.y_offset),
        int(roi.width) or full_width,
        int(roi.height) or full_height,
    )
    binning = max(1, int(message.binning_x)), max(1, int(message.binning_y))
    if not (0 < window[2] <= _MAX_SIZE and 0 < window[3] <= _MAX_SIZE):
        raise MessageError(
            f"camera_info: width and height: expected 1 to {_MAX_SIZE} pixels, got {window[2]} x "
            f"{window[3]}; the driver must fill them"
        )
    if window[0] + window[2] > full_width or window[1] + window[3] > full_height:
        raise MessageError(
            f"camera_info: roi {window[2]} x {window[3]} at {window[:2]}: expected it inside the "
            f"image of {full_width} x {full_height}"
        )
    return window, binning


def _published_size(message: Any) -> tuple[int, int]:
    window, binning = _window(message)
    size = window[2] // binning[0], window[3] // binning[1]
    if not all(size):
        raise MessageError(
            f"camera_info: binning {binning[0]} x {binning[1]}: expected less than the image, "
            f"which is {window[2]} x {window[3]}"
        )
    return size


def _as_published(intrinsic: np.ndarray, message: Any) -> np.ndarray:
    (x_offset, y_offset, _, _), binning = _window(message)
    intrinsic[:2, 2] += 0.5 - np.array([x_offset, y_offset])
    intrinsic[:2] /= np.array([binning]).T
    intrinsic[:2, 2] -= 0.5
    return intrinsic


def read_calibration_file(path: str | Path, rectified: bool = False) -> CalibrationFile:
    """A YAML file as ROS camera_calibration writes it -> CalibrationFile.

    Keys: image_width, image_height, camera_matrix, distortion_model, distortion_coefficients,
    projection_matrix (needed with `rectified`), rectification_matrix (not used) and camera_name;
    matrices are {rows, cols, data}. One key is ours and optional: camera_from_lidar, a 4 x 4 matrix
    of the same form, metres, LiDAR frame to optical frame (z forward, x right, y down).

    Raises:
        MessageError: not YAML, a key missing or unknown, or values that `read_camera_info` refuses;
            the text names the file.
    """
    try:
        values = load_yaml(path)
    except (SettingsError, OSError, UnicodeDecodeError) as error:
        raise MessageError(f"calibration file {path}: not readable: {error}") from error
    try:
        return _from_file(values, rectified)
    except (MessageError, ValueError, TypeError, OverflowError) as error:
        raise MessageError(f"calibration file {path}: {error}") from error


_REQUIRED = {
    "image_width",
    "image_height",
    "camera_matrix",
    "distortion_model",
    "distortion_coefficients",
}
_OPTIONAL = {"camera_name", "projection_matrix", "rectification_matrix", "camera_from_lidar"}


def _from_file(values: Any, rectified: bool) -> CalibrationFile:
    if not isinstance(values, dict):
        raise MessageError(f"expected a mapping, got {type(values).__name__}")
    required = _REQUIRED | ({"projection_matrix"} if rectified else set())
    if required - set(values) or set(values) - _REQUIRED - _OPTIONAL:
        missing, unknown = (
            sorted(required - set(values)),
            sorted(set(values) - _REQUIRED - _OPTIONAL),
        )
        raise MessageError(
            f"expected the keys camera_calibration writes; missing: {missing}, unknown: {unknown}"
        )
    info = SimpleNamespace(
        width=values["image_width"],
        height=values["image_height"],
        binning_x=1,
        binning_y=1,
        roi=SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0),
        k=_data(values, "camera_matrix"),
        p=_data(values, "projection_matrix") if rectified else (),
        distortion_model=values["distortion_model"],
        d=_data(values, "distortion_coefficients"),
    )
    intrinsic, distortion, image_size = read_camera_info(info, rectified)
    camera_from_lidar = None
    if "camera_from_lidar" in values:
        camera_from_lidar = _matrix("camera_from_lidar", _data(values, "camera_from_lidar"), (4, 4))
        require_rigid("camera_from_lidar", camera_from_lidar)
    return CalibrationFile(
        intrinsic, distortion, image_size, camera_from_lidar, str(values.get("camera_name", ""))
    )


def _data(values: Any, key: str) -> list[float]:
    matrix = values[key]
    if not isinstance(matrix, dict) or not isinstance(matrix.get("data"), list):
        raise MessageError(f"{key}: expected rows, cols and data, got {matrix!r}")
    return [float(value) for value in matrix["data"]]
