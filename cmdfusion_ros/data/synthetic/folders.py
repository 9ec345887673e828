"""Sequences -> folders in the SemanticKITTI layout, as the official tools and data/semantic_kitti.py read it."""

from pathlib import Path

import cv2
import numpy as np

from cmdfusion_ros.geometry.transforms import invert


def write_tables(folder, sequence):
    """Write calib.txt, poses.txt (left camera in the frame of the first one, KITTI's convention) and times.txt of a Sequence.

    P0 to P3 are all those of the rig's first camera, Tr takes LiDAR coordinates to it. Times count from the first scan.
    """
    folder = Path(folder)
    for name in ("velodyne", "labels", "image_2"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    camera = sequence.rig.cameras[0]
    if camera.distortion is not None:
        raise ValueError(f"rig {sequence.rig.name}: the SemanticKITTI layout knows no lens distortion; take the rig kitti, nuscenes or pandaset")
    projection = np.hstack([camera.intrinsic, np.zeros((3, 1))])
    camera_from_lidar = camera.camera_from_lidar
    rows = [f"P{number}: {_numbers(projection)}" for number in range(4)] + [f"Tr: {_numbers(camera_from_lidar[:3])}"]
    (folder / "calib.txt").write_text("\n".join(rows) + "\n")
    lidar_from_camera = invert(camera_from_lidar)
    poses = [camera_from_lidar @ sequence.world_from_lidar(index) @ lidar_from_camera for index in range(len(sequence))]
    (folder / "poses.txt").write_text("".join(_numbers(pose[:3]) + "\n" for pose in poses))
    (folder / "times.txt").write_text("".join(f"{(sequence.stamp(index) - sequence.stamp(0)) / 1e9:.9f}\n" for index in range(len(sequence))))


def write_scan(folder, sequence, index, images=True):
    """Write one scan of a Sequence: points, labels with instance ids, and the first camera's picture."""
    folder, stem = Path(folder), f"{index:06d}"
    scan = sequence.scan(index)
    np.column_stack([scan.points, scan.intensity]).astype("<f4").tofile(folder / "velodyne" / f"{stem}.bin")
    (scan.raw.astype("<u4") | scan.instance_ids.astype("<u4") << np.uint32(16)).astype("<u4").tofile(folder / "labels" / f"{stem}.label")
    if images:
        path = folder / "image_2" / f"{stem}.png"
        if not cv2.imwrite(str(path), sequence.photograph(index, 0).view.image[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1]):
            raise OSError(f"{path}: could not be written; is the disk full?")


def _numbers(matrix):
    return " ".join(repr(float(value)) for value in np.asarray(matrix).reshape(-1))
