"""nuScenes-lidarseg -> Frames, from its JSON tables alone.

A set is a folder with `v1.0-trainval/*.json` (or -mini, -test), `samples/`, `sweeps/`, `lidarseg/`.
Labels are uint8, one a point of a key frame; instance ids come from `panoptic/` where it is there.
Points are float32 x, y, z, intensity 0-255, ring; the LiDAR's frame has x right and y forward and
is turned here to ours, x forward and y left.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cmdfusion_ros.data.npz import read_npz
from cmdfusion_ros.data.readers.image_files import read_image
from cmdfusion_ros.data.readers.nuscenes_splits import SPLITS, scenes_of_split
from cmdfusion_ros.data.readers.scan_set import StoredScans
from cmdfusion_ros.frame import IGNORE_LABEL, CameraView, Frame
from cmdfusion_ros.geometry.transforms import invert, rigid, rotation_from_quaternion

LIDAR = "LIDAR_TOP"
POINT_BYTES = 20
# our axes -> those of the files
SENSOR_FROM_LIDAR = rigid(np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), np.zeros(3))
MAX_INSTANCES = 1000  # panoptic value = category * 1000 + number


class NuScenes(StoredScans):
    """The key frames of some scenes as Frames, in order of scene and time.

    Arguments and errors as of StoredScans. sequences: names of scenes, or of splits of its folder
    of tables: train, val; mini_train, mini_val; test. scans: places of key frames in their scene.
    images: read the six cameras.
    """

    own_dataset = "nuscenes"
    _nothing = "scenes {} hold no key frame with a place"

    def _find(self, sequences):
        self._tables = _Tables(self.root, need_labels=self._read_labels)
        for scene in _scenes(self._tables, sequences):
            for place, token in enumerate(self._tables.key_frames(scene)):
                yield place, (scene, token)

    @staticmethod
    def _name(scene, token):
        return f"{scene}/{token}"  # token of the LiDAR's sample_data

    def __getitem__(self, index: int) -> Frame:
        scene, token = self._items[index]
        return self._read(scene, token, self._read_labels, self._read_images)

    def neighbours(self, index: int, offsets: Sequence[int]) -> tuple[Frame, ...]:
        """The LiDAR sweeps (20 a second, key frames or not) that come `offsets` before or after
        key frame `index`, without images and labels.
        """
        scene, token = self._items[index]
        found = (self._tables.sweep(token, offset) for offset in offsets)
        return tuple(
            self._read(scene, other, labels=False, images=False, ignored=True)
            for other in found
            if other is not None
        )

    def _read(self, scene, token, labels, images, ignored=False):
        row = self._tables.data[token]
        path = self.root / row["filename"]
        cloud = read_sweep(path)
        found = instance_ids = None
        if labels:
            found, instance_ids = self._labels_of(token, len(cloud), path)
        elif ignored:
            found = np.full(len(cloud), IGNORE_LABEL, np.uint8)
        lidar_from_ours = self._tables.ego_from_sensor(row) @ SENSOR_FROM_LIDAR
        global_from_lidar = self._tables.global_from_ego(row) @ lidar_from_ours
        views = (
            tuple(
                self._view(camera, global_from_lidar)
                for camera in self._tables.cameras(row["sample_token"])
            )
            if images
            else ()
        )
        return Frame(
            points=np.ascontiguousarray(cloud[:, [1, 0, 2]] * np.array([1, -1, 1], np.float32)),
            intensity=np.ascontiguousarray(cloud[:, 3] / np.float32(255)),
            stamp=int(row["timestamp"]) * 1000,
            views=views,
            labels=found,
            instance_ids=instance_ids,
            world_from_lidar=global_from_lidar if self._read_poses else None,
            name=f"{self._called}/{scene}/{token}",
        )

    def _labels_of(self, token, num_points, cloud_path):
        path = self._tables.label_path(token)
        if path is None:
            raise ValueError(
                f"{self._tables.folder / 'lidarseg.json'}: no labels for {cloud_path.name} "
                f"({token}); read this set with labels=False"
            )
        raw = np.frombuffer(_bytes(path, "labels, one byte a point"), np.uint8)
        if len(raw) != num_points:
            raise ValueError(
                f"{path}: expected {num_points} labels (one a point of {cloud_path.name}), got "
                f"{len(raw)}; is the file cut short?"
            )
        labels = self.class_map.labels_from_raw(raw, self.dataset, where=str(path))
        panoptic = self._tables.panoptic_path(token)
        if panoptic is None:
            return labels, None
        ids = read_npz(panoptic, "data")["data"] % MAX_INSTANCES
        if len(ids) != num_points:
            raise ValueError(
                f"{panoptic}: expected {num_points} ids (one a point of {cloud_path.name}), got "
                f"{len(ids)}"
            )
        return labels, ids.astype(np.uint16)

    def _view(self, row, global_from_lidar):
        path = self.root / row["filename"]
        intrinsic = np.array(
            self._tables.calibrated[row["calibrated_sensor_token"]]["camera_intrinsic"], np.float64
        )
        image = read_image(
            path, intrinsic, f"fetch samples/{row['channel']} or read with images=False"
        )
        if (image.shape[1], image.shape[0]) != (row["width"], row["height"]):
            raise ValueError(
                f"{path}: expected {row['width']} x {row['height']} pixels, as the intrinsics are "
                f"for, got {image.shape[1]} x {image.shape[0]}"
            )
        camera_from_global = invert(
            self._tables.global_from_ego(row) @ self._tables.ego_from_sensor(row)
        )
        stamp = int(row["timestamp"]) * 1000
        return CameraView(
            row["channel"], image, intrinsic, camera_from_global @ global_from_lidar, stamp=stamp
        )


def read_sweep(path: str | Path) -> np.ndarray:
    """One `.pcd.bin` file -> (N, 5) float32: x right, y forward, z up in metres, intensity 0 to
    255, ring.
    """
    content = _bytes(path, "points of 20 bytes")
    if len(content) % POINT_BYTES:
        raise ValueError(
            f"{path}: expected whole points of {POINT_BYTES} bytes, got {len(content)} bytes; is "
            "the file cut short?"
        )
    cloud = np.frombuffer(content, "<f4").reshape(-1, 5)
    if not np.isfinite(cloud[:, :4]).all():
        raise ValueError(
            f"{path}: {int((~np.isfinite(cloud[:, :4])).any(axis=1).sum())} points hold NaN or "
            "infinity; fetch the file again"
        )
    if len(cloud) and (cloud[:, 3].min() < 0 or cloud[:, 3].max() > 255):
        raise ValueError(
            f"{path}: expected intensity 0 to 255, got {cloud[:, 3].min():g} to "
            f"{cloud[:, 3].max():g}; is this nuScenes?"
        )
    return cloud


def _bytes(path, what):
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: expected a file of {what}; fetch it, or leave the scene out"
        )
    return path.read_bytes()


def _scenes(tables, sequences):
    """Names of scenes, in the order asked for."""
    wanted = []
    for sequence in sequences:
        if sequence not in SPLITS and sequence not in tables.scenes:
            known = sorted(tables.scenes)
            raise FileNotFoundError(
                f"{tables.folder}: no scene {sequence!r}; found "
                f"{', '.join(known[:5])}{', ...' if len(known) > 5 else ''}"
            )
        wanted += (
            scenes_of_split(sequence, tables.folder, sorted(tables.scenes))
            if sequence in SPLITS
            else (sequence,)
        )
    return wanted


class _Tables:
    """The rows of the JSON tables that scans need, by token."""

    def __init__(self, root, need_labels):
        folders = [folder for folder in sorted(root.glob("v1.0-*")) if folder.is_dir()]
        if len(folders) != 1:
            raise FileNotFoundError(
                f"{root}: expected one folder v1.0-trainval, v1.0-mini or v1.0-test with JSON "
                f"tables, found {len(folders)}"
            )
        self.root, self.folder = root, folders[0]
        try:
            self._fill(need_labels)
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{self.folder}: a row of its tables has no {error}; are they those of nuScenes, "
                "and of one version?"
            ) from error

    def _fill(self, need_labels):
        channels = {row["token"]: row["channel"] for row in self._load("sensor")}
        self.calibrated = {
            row["token"]: {**row, "channel": channels[row["sensor_token"]]}
            for row in self._load("calibrated_sensor")
        }
        self.scenes = {row["name"]: row for row in self._load("scene")}
        self._samples = {row["token"]: row for row in self._load("sample")}
        self._poses = {row["token"]: row for row in self._load("ego_pose")}
        self.data, self._cameras, self._lidar_of = {}, {}, {}
        for row in self._load("sample_data"):
            row["channel"] = self.calibrated[row["calibrated_sensor_token"]]["channel"]
            if row["channel"] == LIDAR:
                self.data[row["token"]] = row
                if row["is_key_frame"]:
                    self._lidar_of[row["sample_token"]] = row["token"]
            elif row["is_key_frame"] and row["channel"].startswith("CAM"):
                self._cameras.setdefault(row["sample_token"], []).append(row)
        self._labels = (
            {row["sample_data_token"]: row["filename"] for row in self._load("lidarseg")}
            if need_labels
            else {}
        )
        has_panoptic = need_labels and (self.folder / "panoptic.json").exists()
        self._panoptic = (
            {row["sample_data_token"]: row["filename"] for row in self._load("panoptic")}
            if has_panoptic
            else {}
        )

    def _load(self, name):
        path = self.folder / f"{name}.json"
        if not path.exists():
            raise FileNotFoundError(
                f"{path}: no such table; "
                + (
                    "fetch nuScenes-lidarseg, or read with labels=False"
                    if name == "lidarseg"
                    else "fetch it"
                )
            )
        try:
            rows = json.loads(path.read_text())
        except ValueError as error:
            raise ValueError(f"{path}: not readable as JSON ({error}); fetch it again") from error
        return rows

    def key_frames(self, scene):
        """Tokens of the LiDAR's key frames of a scene, by time."""
        token, tokens = self.scenes[scene]["first_sample_token"], []
        while token:
            if token not in self._lidar_of:
                raise ValueError(
                    f"{self.folder / 'sample_data.json'}: no key frame of {LIDAR} for sample "
                    f"{token} of {scene}"
                )
            tokens.append(self._lidar_of[token])
            token = self._samples[token]["next"]
        return tokens

    def sweep(self, token, offset):
        """Token of the LiDAR's sweep `offset` places on; None past an end of the scene."""
        for _ in range(abs(offset)):
            token = self.data[token]["next" if offset > 0 else "prev"]
            if token not in self.data:
                return None
        return token

    def cameras(self, sample_token):
        """Rows of the cameras' key frames of a sample, by name."""
        return sorted(self._cameras.get(sample_token, ()), key=lambda row: row["channel"])

    def label_path(self, token):
        return self.root / self._labels[token] if token in self._labels else None

    def panoptic_path(self, token):
        return self.root / self._panoptic[token] if token in self._panoptic else None

    def ego_from_sensor(self, row):
        token = row["calibrated_sensor_token"]
        return _transform(
            self.calibrated[token], f"{self.folder / 'calibrated_sensor.json'}: {token}"
        )

    def global_from_ego(self, row):
        token = row["ego_pose_token"]
        if token not in self._poses:
            raise ValueError(
                f"{self.folder / 'ego_pose.json'}: no pose {token}, which {row['filename']} names"
            )
        return _transform(self._poses[token], f"{self.folder / 'ego_pose.json'}: {token}")


def _transform(row, where):
    """A row with translation and rotation (w, x, y, z) -> (4, 4)."""
    try:
        w, x, y, z = row["rotation"]
        translation = np.array(row["translation"], np.float64).reshape(3)
        if not np.isfinite([w, x, y, z, *translation]).all():
            raise ValueError("holds NaN or infinity")
        return rigid(rotation_from_quaternion((x, y, z, w)), translation)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{where}: expected translation (3 numbers) and rotation (4, w first): {error}; fetch "
            "the table again"
        ) from error
