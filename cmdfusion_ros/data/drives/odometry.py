"""Poses from the clouds alone, where nobody recorded any: KISS-ICP (Vizzo et al., RA-L 2023), an
extra."""

from collections.abc import Iterable

import numpy as np

from cmdfusion_ros.geometry.trajectory import Trajectory

STANDING = "none"  # instead of an odometry: nothing is known of how the LiDAR moved


def standing_trajectory(stamps: Iterable[int]) -> Trajectory:
    """A Trajectory that stays where it is, with a pose at each of some stamps (ns)."""
    times = np.array(sorted(set(stamps)), np.int64)
    return Trajectory(times, np.tile(np.eye(4), (len(times), 1, 1)))


def kiss_icp_trajectory(scans: Iterable[tuple[int, np.ndarray]], where: str) -> Trajectory:
    """The Trajectory of (stamp in ns, (N, 3) points of the LiDAR) in order of time; the world is
    the frame of the first scan. Points are taken as they are, without deskewing.

    Raises:
        ModuleNotFoundError: the extra `odometry` is not installed. ValueError: no scan.
    """
    try:
        from kiss_icp.config import KISSConfig
        from kiss_icp.kiss_icp import KissICP
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{where}: has no poses, and to find them from the clouds needs KISS-ICP; "
            "pip install 'cmdfusion_ros[odometry]'"
        ) from error
    config = KISSConfig()
    config.data.deskew = False
    config.registration.max_num_threads = 1  # sums in one order: the same poses each time
    config.mapping.voxel_size = config.data.max_range / 100
    odometry = KissICP(config)
    stamps, poses = [], []
    for stamp, points in scans:
        odometry.register_frame(points.astype(np.float64), np.zeros(0))
        stamps.append(stamp)
        poses.append(_rigid(odometry.last_pose))
    if not stamps:
        raise ValueError(f"{where}: no scan to find poses from")
    return Trajectory(np.array(stamps, np.int64), np.array(poses))


def _rigid(pose: np.ndarray) -> np.ndarray:
    """The nearest rigid transform: small errors of rounding add up over a long drive."""
    left, _, right = np.linalg.svd(pose[:3, :3])
    result = pose.copy()
    result[:3, :3] = left @ right
    return result
