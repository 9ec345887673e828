"""A flat scan of what stands about, for stacks that know no clouds: the nearest point of every
direction.

The frame of a LaserScan must stand level, or who reads it turns every range wrong. The cloud's own
frame serves where it does (upside down too: the plane is the same); else a frame must be named.
"""

import numpy as np

from cmdfusion_ros.geometry.transforms import apply, invert
from cmdfusion_ros.labelling.extrinsics import Extrinsics
from cmdfusion_ros.labelling.labelled_cloud import LabelledCloud
from cmdfusion_ros.messages.transforms import TransformError

_LEVEL = np.cos(np.radians(3.0))  # as leveling takes it: a street's camber is no mount's tilt
_FARTHEST_ORIGIN = 5.0  # metres from the sensor to the frame's origin, where ranges begin
_REMEDY = "set scan.frame to a level frame of the vehicle, such as base_link"


def scan_directions(angle_increment: float) -> int:
    """How many rays a scan of the full circle has, `angle_increment` degrees or a little less
    apart.
    """
    return max(int(np.ceil(360.0 / angle_increment - 1e-6)), 4)


def nearest_ranges(
    points: np.ndarray, directions: int, min_range: float, max_range: float
) -> np.ndarray:
    """The distance of the nearest point around each ray.

    Args:
        points: (N, 2) or (N, 3), metres, x forward, y left; rows that are not finite do not count.
        directions: D rays, the first at -pi, one every 2 pi / D.
        min_range, max_range: metres over the ground plane; both ends count.

    Returns:
        (D,) float32, metres; infinity where there is nothing (REP 117).
    """
    distance = np.hypot(points[:, 0], points[:, 1])
    seen = np.isfinite(distance) & (distance >= min_range) & (distance <= max_range)
    angle = np.arctan2(points[seen, 1], points[seen, 0])
    ray = np.rint((angle + np.pi) * (directions / (2 * np.pi))).astype(np.int64) % directions
    ranges = np.full(directions, np.inf, np.float32)
    np.minimum.at(ranges, ray, distance[seen].astype(np.float32))
    return ranges


def scan_frame(
    labelled: LabelledCloud, wanted: str, extrinsics: Extrinsics
) -> tuple[str, np.ndarray, np.ndarray]:
    """(frame_id, (N, 3) float32 points in it in metres, (N,) heights in metres) of every row.

    Heights are over the ground where leveling has found it, else z in the frame.

    Args:
        wanted: a level frame by transforms; "" for the cloud's own.

    Raises:
        TransformError: no transform to `wanted`; or none is wanted and the cloud's own frame is
            not level, has no known ground or begins far from the sensor.
    """
    cloud, placement = labelled.cloud, labelled.placement
    metres = cloud.points
    if placement is not None and placement.scale != 1.0:
        metres = metres * np.float32(placement.scale)
    ground = placement is not None and np.isfinite(placement.found_height)
    if not wanted:
        _check_own_frame(labelled, bool(ground))
    points = metres
    if wanted and wanted != cloud.frame_id:
        points = apply(extrinsics.transform(wanted, cloud.frame_id), metres)
    heights = points[:, 2]
    if placement is not None and ground:
        upright = invert(_cloud_from_network(labelled))[2]
        above = placement.found_height - placement.network_from_sensor[2, 3]
        heights = metres @ upright[:3] + (upright[3] + above)
    return wanted or cloud.frame_id, points, heights


def _cloud_from_network(labelled: LabelledCloud) -> np.ndarray:
    return np.eye(4) if labelled.cloud_from_network is None else labelled.cloud_from_network


def _check_own_frame(labelled: LabelledCloud, ground: bool) -> None:
    mine = f"the clouds' frame {labelled.cloud.frame_id!r}"
    if not ground:
        raise TransformError(f"{mine}: how high it is over the ground is not known; {_REMEDY}")
    cloud_from_network = _cloud_from_network(labelled)
    if abs(cloud_from_network[2, 2]) < _LEVEL:
        tilt = np.degrees(np.arccos(cloud_from_network[2, 2]))
        raise TransformError(f"{mine} is tilted by {tilt:.0f} degrees; {_REMEDY}")
    away = float(np.hypot(*cloud_from_network[:2, 3]))
    if away > _FARTHEST_ORIGIN:
        raise TransformError(f"{mine} begins {away:.0f} m from the sensor; {_REMEDY}")
