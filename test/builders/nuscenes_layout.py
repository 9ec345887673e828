"""A nuScenes-lidarseg set of one or more scenes, written by the tests themselves: a flat road
with a wall, as two cameras and a LiDAR see it.
"""

import json
from pathlib import Path

import cv2
import numpy as np

from cmdfusion_ros.geometry.transforms import invert, quaternion_from_rotation, rigid, yaw_rotation

ROAD, WALL = 24, 28  # raw ids of nuScenes
# the LiDAR's x looks right, its y forward
EGO_FROM_LIDAR = rigid(yaw_rotation(-np.pi / 2), np.array([0.9, 0.0, 1.8]))
OPTICAL = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])  # of a camera that looks along x
EGO_FROM_CAMERA = {
    "CAM_FRONT": rigid(OPTICAL.T, np.array([1.7, 0.0, 1.5])),
    "CAM_BACK": rigid(yaw_rotation(np.pi) @ OPTICAL.T, np.array([0.0, 0.0, 1.5])),
}
INTRINSIC = [[40.0, 0, 32], [0, 40, 24], [0, 0, 1]]
SPEED = 5.0  # metres a second, along x


def _row(transform):
    x, y, z, w = quaternion_from_rotation(transform[:3, :3])
    return {"translation": transform[:3, 3].tolist(), "rotation": [w, x, y, z]}


def world_points(num_points=300, seed=0):
    """(N, 3) road and wall in the world, and raw ids."""
    rng = np.random.default_rng(seed)
    road = np.c_[rng.uniform(-20, 25, (num_points, 2)) * (1, 0.4), np.zeros(num_points)]
    wall = np.c_[
        rng.uniform(-20, 25, num_points), np.full(num_points, 9.0), rng.uniform(0, 4, num_points)
    ]
    return np.concatenate([road, wall]), np.repeat(np.array([ROAD, WALL], np.uint8), num_points)


def write_nuscenes(
    root, scenes=("scene-0061", "scene-0103"), key_frames=3, panoptic=False, version="v1.0-mini"
):
    """Write the set; two sweeps between key frames, 0.05 s apart, cameras 0.02 s after the
    LiDAR. Returns the folder of tables.
    """
    root = Path(root)
    tables = {
        name: []
        for name in (
            "scene",
            "sample",
            "sample_data",
            "calibrated_sensor",
            "ego_pose",
            "sensor",
            "lidarseg",
            "panoptic",
        )
    }
    for channel, transform in {"LIDAR_TOP": EGO_FROM_LIDAR, **EGO_FROM_CAMERA}.items():
        tables["sensor"].append({"token": f"sensor-{channel}", "channel": channel, "modality": "x"})
        intrinsic = [] if channel == "LIDAR_TOP" else INTRINSIC
        tables["calibrated_sensor"].append(
            {
                "token": f"cal-{channel}",
                "sensor_token": f"sensor-{channel}",
                "camera_intrinsic": intrinsic,
                **_row(transform),
            }
        )
    for scene in scenes:
        _write_scene(root, tables, scene, key_frames, panoptic)
    folder = root / version
    folder.mkdir(parents=True)
    for name, rows in tables.items():
        if name != "panoptic" or panoptic:
            (folder / f"{name}.json").write_text(json.dumps(rows))
    return folder


def _write_scene(root, tables, scene, key_frames, panoptic):
    samples = [f"{scene}-sample{place}" for place in range(key_frames)]
    tables["scene"].append(
        {
            "token": scene,
            "name": scene,
            "first_sample_token": samples[0],
            "last_sample_token": samples[-1],
            "nbr_samples": key_frames,
        }
    )
    sweeps = 3 * key_frames - 2
    for place, token in enumerate(samples):
        chain = {
            "prev": samples[place - 1] if place else "",
            "next": samples[place + 1] if place + 1 < key_frames else "",
        }
        tables["sample"].append({"token": token, "scene_token": scene, "timestamp": 0, **chain})
    for number in range(sweeps):
        place, is_key = number // 3, number % 3 == 0
        stamp = 1_600_000_000_000_000 + 50_000 * number
        kind = "samples" if is_key else "sweeps"
        token = f"{scene}-lidar{number}"
        chain = {
            "prev": f"{scene}-lidar{number - 1}" if number else "",
            "next": f"{scene}-lidar{number + 1}" if number + 1 < sweeps else "",
        }
        _add_data(
            tables,
            token,
            samples[place],
            "LIDAR_TOP",
            stamp,
            is_key,
            f"{kind}/LIDAR_TOP/{token}.pcd.bin",
            chain,
        )
        points, raw = world_points(seed=number)
        in_lidar = (points - _ego(stamp)[:3, 3]) @ _ego(stamp)[:3, :3]
        in_lidar = (in_lidar - EGO_FROM_LIDAR[:3, 3]) @ EGO_FROM_LIDAR[:3, :3]
        path = root / kind / "LIDAR_TOP" / f"{token}.pcd.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.c_[in_lidar, np.full(len(points), 51.0), np.zeros(len(points))].astype("<f4").tofile(
            path
        )
        if not is_key:
            continue
        (root / "lidarseg").mkdir(exist_ok=True)
        raw.tofile(root / "lidarseg" / f"{token}_lidarseg.bin")
        tables["lidarseg"].append(
            {
                "token": token,
                "sample_data_token": token,
                "filename": f"lidarseg/{token}_lidarseg.bin",
            }
        )
        if panoptic:
            (root / "panoptic").mkdir(exist_ok=True)
            np.savez_compressed(
                root / "panoptic" / f"{token}_panoptic.npz",
                data=raw.astype(np.uint16) * 1000 + (raw == WALL),
            )
            tables["panoptic"].append(
                {
                    "token": token,
                    "sample_data_token": token,
                    "filename": f"panoptic/{token}_panoptic.npz",
                }
            )
        for channel in EGO_FROM_CAMERA:
            name = f"samples/{channel}/{scene}-{place}.png"
            _add_data(
                tables,
                f"{scene}-{channel}{place}",
                samples[place],
                channel,
                stamp + 20_000,
                True,
                name,
                {"prev": "", "next": ""},
                (64, 48),
            )
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            # red: OpenCV writes BGR
            cv2.imwrite(str(root / name), np.full((48, 64, 3), (0, 0, 200), np.uint8))


def _ego(stamp):
    """Pose of the vehicle in the world: drives along x, starts at the origin."""
    return rigid(np.eye(3), np.array([SPEED * (stamp - 1_600_000_000_000_000) / 1e6, 0.0, 0.0]))


def _add_data(tables, token, sample, channel, stamp, is_key, filename, chain, size=(0, 0)):
    tables["ego_pose"].append({"token": f"pose-{token}", "timestamp": stamp, **_row(_ego(stamp))})
    row = {
        "token": token,
        "sample_token": sample,
        "ego_pose_token": f"pose-{token}",
        "calibrated_sensor_token": f"cal-{channel}",
        "timestamp": stamp,
    }
    tables["sample_data"].append(
        {
            **row,
            "is_key_frame": is_key,
            "filename": filename,
            "width": size[0],
            "height": size[1],
            **chain,
        }
    )


def camera_from_world(channel, stamp):
    """Where a camera is at a time, for checks by hand."""
    return invert(_ego(stamp) @ EGO_FROM_CAMERA[channel])
