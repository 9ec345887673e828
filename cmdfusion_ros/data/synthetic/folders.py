"""Sequences -> folders in the SemanticKITTI layout, as the official tools and
data/readers/semantic_kitti.py read it.
"""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cmdfusion_ros.data.readers.semantic_kitti import CAMERAS, FIRST_CAMERA
from cmdfusion_ros.geometry.transforms import invert


def write_tables(folder: Path, sequence: Any) -> None:
    """Write calib.txt, poses.txt (left camera in the frame of the first one, KITTI's convention)
    and times.txt of a Sequence.

    P0 to P3 are all those of the rig's first camera, Tr takes LiDAR coordinates to it. Times count
    from the first scan. Of a rig with more cameras, cameras.json holds what the layout has no place
    for (data/readers/semantic_kitti.py).
    """
    folder = Path(folder)
    for name in ("velodyne", "labels", *map(_folder_of, range(len(sequence.rig.cameras)))):
        (folder / name).mkdir(parents=True, exist_ok=True)
    camera = sequence.rig.cameras[0]
    if camera.distortion is not None:
        raise ValueError(
            f"rig {sequence.rig.name}: the SemanticKITTI layout knows no lens distortion; take the "
            "rig kitti, nuscenes or pandaset"
        )
    projection = np.hstack([camera.intrinsic, np.zeros((3, 1))])
    camera_from_lidar = camera.camera_from_lidar
    rows = [f"P{number}: {_numbers(projection)}" for number in range(4)] + [
        f"Tr: {_numbers(camera_from_lidar[:3])}"
    ]
    (folder / "calib.txt").write_text("\n".join(rows) + "\n")
    lidar_from_camera = invert(camera_from_lidar)
    poses = [
        camera_from_lidar @ sequence.world_from_lidar(index) @ lidar_from_camera
        for index in range(len(sequence))
    ]
    (folder / "poses.txt").write_text("".join(_numbers(pose[:3]) + "\n" for pose in poses))
    (folder / "times.txt").write_text(
        "".join(
            f"{(sequence.stamp(index) - sequence.stamp(0)) / 1e9:.9f}\n"
            for index in range(len(sequence))
        )
    )
    if len(sequence.rig.cameras) > 1:
        (folder / CAMERAS).write_text(
            json.dumps(
                [_camera_entry(number, each) for number, each in enumerate(sequence.rig.cameras)],
                indent=1,
            )
            + "\n"
        )


def write_scan(folder: Path, sequence: Any, index: int, images: bool = True) -> None:
    """Write one scan of a Sequence: points, labels with instance ids, and every camera's
    picture.
    """
    folder, stem = Path(folder), f"{index:06d}"
    scan = sequence.scan(index)
    np.column_stack([scan.points, scan.intensity]).astype("<f4").tofile(
        folder / "velodyne" / f"{stem}.bin"
    )
    (scan.raw.astype("<u4") | scan.instance_ids.astype("<u4") << np.uint32(16)).astype(
        "<u4"
    ).tofile(folder / "labels" / f"{stem}.label")
    for number in range(len(sequence.rig.cameras)) if images else ():
        path = folder / _folder_of(number) / f"{stem}.png"
        if not cv2.imwrite(
            str(path),
            sequence.photograph(index, number).view.image[:, :, ::-1],
            [cv2.IMWRITE_PNG_COMPRESSION, 1],
        ):
            raise OSError(f"{path}: could not be written; is the disk full?")


def _folder_of(number):
    """Where the pictures of camera `number` of a rig lie: the first one's where official tools
    look for them.
    """
    return FIRST_CAMERA if number == 0 else f"image_2_{number}"


def _camera_entry(number, camera):
    if camera.distortion is not None:
        raise ValueError(
            f"camera {camera.name}: folders know no lens distortion; take the rig kitti, nuscenes "
            "or pandaset"
        )
    return {
        "name": camera.name,
        "folder": _folder_of(number),
        "intrinsic": camera.intrinsic.tolist(),
        "camera_from_lidar": camera.camera_from_lidar.tolist(),
        "late_ns": camera.late_ns,
    }


def _numbers(matrix):
    return " ".join(repr(float(value)) for value in np.asarray(matrix).reshape(-1))
