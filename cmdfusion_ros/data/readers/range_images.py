"""Range images of the Waymo Open Dataset -> points."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from cmdfusion_ros.geometry.transforms import invert


def decode(
    row: Mapping[str, Any],
    number: int,
    channels: int,
    where: str,
    like: np.ndarray | None = None,
) -> np.ndarray:
    """The flat values and the shape of a return -> (H, W, channels).

    Args:
        row: columns without their component's name. number: 1 or 2, of the return.
        where: names the row in errors. like: (H, W) that the result must have.

    Raises:
        ValueError: values are missing, or do not fit the shape.
    """
    name = f"range_image_return{number}"
    values, shape = row[f"{name}.values"], row[f"{name}.shape"]
    if values is None or shape is None:
        raise ValueError(f"{where}: {name} is empty; fetch the file again")
    shape = tuple(int(side) for side in shape)
    if len(shape) != 3 or shape[2] != channels or len(values) != np.prod(shape):
        raise ValueError(
            f"{where}: {name}: expected H x W x {channels} values, got {len(values)} of shape "
            f"{shape}"
        )
    if like is not None and shape[:2] != like.shape:
        raise ValueError(
            f"{where}: {name}: expected the {like.shape} pixels of the LiDAR's image, got "
            f"{shape[:2]}"
        )
    return np.asarray(values).reshape(shape)


def points_of(
    ranges: np.ndarray,
    kept: np.ndarray,
    inclinations: np.ndarray,
    vehicle_from_lidar: np.ndarray,
    poses: np.ndarray | None,
    world_from_vehicle: np.ndarray,
) -> np.ndarray:
    """The points of a range image in the vehicle's frame (the set's own rule).

    Columns go clockwise from straight behind, as seen from above in the vehicle's axes: column
    w of W looks along (W - w - 0.5) / W of a turn less half a turn, less the LiDAR's own yaw.

    Args:
        ranges: (H, W) metres. kept: (H, W) bool, the pixels that are points, N of them.
        inclinations: (H,) radians of the rows.
        poses: (N, 6) roll, pitch, yaw, x, y, z of the vehicle in the world when each point was
            measured; None where that is the frame's time for all.
        world_from_vehicle: (4, 4) at the frame's time.

    Returns:
        (N, 3) float64, metres, row by row.
    """
    rows, columns = np.nonzero(kept)
    width = ranges.shape[1]
    own_yaw = np.arctan2(vehicle_from_lidar[1, 0], vehicle_from_lidar[0, 0])
    azimuth = (2 * (width - columns - 0.5) / width - 1) * np.pi - own_yaw
    up, distance = inclinations[rows], ranges[rows, columns].astype(np.float64)
    rays = np.stack([np.cos(azimuth) * np.cos(up), np.sin(azimuth) * np.cos(up), np.sin(up)], 1)
    points = (distance[:, None] * rays) @ vehicle_from_lidar[:3, :3].T + vehicle_from_lidar[:3, 3]
    if poses is None:
        return points
    poses = poses.astype(np.float64)
    in_world = np.einsum("nij,nj->ni", rotations(*poses[:, :3].T), points) + poses[:, 3:]
    vehicle_from_world = invert(world_from_vehicle)
    return in_world @ vehicle_from_world[:3, :3].T + vehicle_from_world[:3, 3]


def rotations(roll: np.ndarray, pitch: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """(N,) angles, radians -> (N, 3, 3), Rz(yaw) Ry(pitch) Rx(roll)."""
    a, b, c = (np.cos(angle) for angle in (roll, pitch, yaw))
    d, e, f = (np.sin(angle) for angle in (roll, pitch, yaw))
    rows = [
        [c * b, c * e * d - f * a, c * e * a + f * d],
        [f * b, f * e * d + c * a, f * e * a - c * d],
        [-e, b * d, b * a],
    ]
    return np.moveaxis(np.array(rows), 2, 0)


def image_of(content: bytes, size: tuple[int, int], where: str) -> np.ndarray:
    """A JPEG's bytes -> (H, W, 3) uint8 RGB; ValueError where it is none, or not of the `size`
    (width, height) that the calibration is for."""
    image = cv2.imdecode(np.frombuffer(content or b"\0", np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{where}: not readable as an image; fetch the file again")
    if (image.shape[1], image.shape[0]) != tuple(size):
        raise ValueError(
            f"{where}: expected {size[0]} x {size[1]} pixels, as the calibration is for, got "
            f"{image.shape[1]} x {image.shape[0]}"
        )
    return np.ascontiguousarray(image[:, :, ::-1])
