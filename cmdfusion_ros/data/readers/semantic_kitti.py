"""Folders in the SemanticKITTI layout -> Frames.

One folder a sequence: `velodyne/000000.bin` (float32 x, y, z, intensity), `labels/000000.label`
(uint32: low 16 bits raw class, high 16 the thing's number in that class), `image_2/000000.png` or
`.jpg`, `calib.txt` (P2 and Tr), `poses.txt` and `times.txt` (row = scan number). Other sets kept in
this layout are read by naming the dataset whose raw ids their labels hold.

A sequence with more cameras, as made-up streets have, lists all of them in `cameras.json`, which
official tools pass over: a list of `name`, `folder` (of its images), `intrinsic` (3 x 3),
`camera_from_lidar` (4 x 4) and `late_ns` (how long after the scan's stamp an image was taken).
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from cmdfusion_ros.data.readers.image_files import read_image
from cmdfusion_ros.data.readers.scan_set import NumberedScans
from cmdfusion_ros.frame import CameraView, Frame
from cmdfusion_ros.geometry.transforms import invert, rigid

HAVE_INSTANCE_IDS = {"semantic_kitti"}  # datasets whose high label bits mean something
# raw classes whose things are counted, each from 1
THINGS = (10, 11, 13, 15, 16, 18, 20, 30, 31, 32, *range(252, 260))
# of a thing in its raw class, so that `thing_ids` fit 16 bits
MAX_NUMBER = 65535 // len(THINGS) - 1
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg")
FIRST_CAMERA = "image_2"
CAMERAS = "cameras.json"


class SemanticKitti(NumberedScans):
    """The scans of some sequences as Frames, in order of sequence and scan number. Reads nothing
    but folder listings until a scan is asked for.

    Arguments and errors as of StoredScans. root: folder that holds `sequences/00` or `00`. poses:
    read poses.txt, times.txt and Tr; otherwise the stamp is 0 and the pose None. images: read the
    left colour image as CameraView "image_2"; of a sequence with `cameras.json` those of all its
    cameras. partly: leave out the scans that nobody has labelled yet, without a label file or with
    nothing but 0 in it (which is what labelling tools write for scans that were not looked at).
    """

    own_dataset = "semantic_kitti"

    def __init__(self, *args: Any, partly: bool = False, **options: Any):
        self._partly = partly
        super().__init__(*args, **options)

    def _find(self, sequences):
        self._folders = {sequence: _sequence_folder(self.root, sequence) for sequence in sequences}
        # sequence -> (world_from_lidar of every row, stamps), read when first needed
        self._tables = {}
        for sequence, folder in self._folders.items():
            for path in _scan_files(folder):
                if not self._partly or _is_labelled(path):
                    yield int(path.stem), (sequence, path)

    @staticmethod
    def _name(sequence, path):
        return f"{sequence}/{path.stem}"

    def _read(self, index, images):
        sequence, path = self._items[index]
        cloud = read_points(path)
        labels = instance_ids = world_from_lidar = None
        stamp, views = 0, ()
        if self._read_labels:
            labels, instance_ids = self._labels_of(path, len(cloud))
        if self._read_poses:
            poses, stamps = self._table_of(sequence)
            number = int(path.stem)
            if number >= len(poses):
                raise ValueError(
                    f"{self._folders[sequence]}: poses.txt has {len(poses)} rows, scan "
                    f"{path.stem} needs row {number + 1}; fetch the whole file"
                )
            world_from_lidar, stamp = poses[number], stamps[number]
        if images:
            views = read_views(self._folders[sequence], path.stem, stamp)
        return Frame(
            points=np.ascontiguousarray(cloud[:, :3]),
            intensity=np.ascontiguousarray(cloud[:, 3]),
            stamp=stamp,
            views=views,
            labels=labels,
            instance_ids=instance_ids,
            world_from_lidar=world_from_lidar,
            name=self.name(index),
        )

    def _labels_of(self, path, num_points):
        label_path = _label_path(path)
        if not label_path.exists():
            raise FileNotFoundError(
                f"{label_path}: no labels for scan {path.stem}; say `partly: true` (--partly) where"
                " not all are labelled yet, or read with labels=False"
            )
        words = np.fromfile(label_path, "<u4")
        if len(words) != num_points or label_path.stat().st_size != 4 * num_points:
            raise ValueError(
                f"{label_path}: expected {num_points} labels (one a point), got "
                f"{label_path.stat().st_size / 4:g}; is the file cut short?"
            )
        labels = self.class_map.labels_from_raw(words & 0xFFFF, self.dataset, where=str(label_path))
        return labels, thing_ids(words, label_path) if self.dataset in HAVE_INSTANCE_IDS else None

    def _table_of(self, sequence):
        if sequence not in self._tables:
            self._tables[sequence] = read_trajectory(self._folders[sequence])
        return self._tables[sequence]


def _sequence_folder(root, sequence):
    for folder in (root / "sequences" / sequence, root / sequence):
        if (folder / "velodyne").is_dir():
            return folder
    known = sorted(
        {
            folder.parent.name
            for pattern in ("sequences/*/velodyne", "*/velodyne")
            for folder in root.glob(pattern)
        }
    )
    raise FileNotFoundError(
        f"{root}: no sequence {sequence!r} with a velodyne folder; found "
        f"{', '.join(known) or 'none'}"
    )


def _scan_files(folder):
    paths = sorted((folder / "velodyne").glob("*.bin"))
    for path in paths:
        if not re.fullmatch(r"\d+", path.stem):
            raise ValueError(f"{path}: expected a scan number as file name, like 000000.bin")
    return paths


def _label_path(scan):
    return scan.parent.parent / "labels" / f"{scan.stem}.label"


def _is_labelled(scan):
    path = _label_path(scan)
    return path.exists() and any(path.read_bytes())


def read_points(path: str | Path) -> np.ndarray:
    """One `.bin` file -> (N, 4) float32: x, y, z in metres, intensity in [0, 1]."""
    if path.stat().st_size % 16:
        raise ValueError(
            f"{path}: expected whole points of 16 bytes, got {path.stat().st_size} bytes; is the "
            "file cut short?"
        )
    cloud = np.fromfile(path, "<f4").reshape(-1, 4)
    if not np.isfinite(cloud).all():
        raise ValueError(
            f"{path}: {int((~np.isfinite(cloud)).any(axis=1).sum())} points hold NaN or infinity; "
            "rewrite the scan and its labels without them"
        )
    if len(cloud) and (cloud[:, 3].min() < 0 or cloud[:, 3].max() > 1):
        raise ValueError(
            f"{path}: expected intensity in [0, 1], got {cloud[:, 3].min():g} to "
            f"{cloud[:, 3].max():g}; divide by the sensor's full scale"
        )
    return cloud


def thing_ids(words: np.ndarray, where: str) -> np.ndarray:
    """(N,) words of a label file -> (N,) uint16 instance ids, which no two things of a sequence
    share; 0 for points of no thing.

    The files count the things of each raw class from 1, moving and standing ones apart. A class map
    folds several raw classes into one, so the number alone
    does not tell a parked car from one that drives: the id is number * 18 + place of the raw class
    in THINGS.

    Raises:
        ValueError: a number over MAX_NUMBER; `where` names the file.
    """
    places = np.full(65536, -1, np.int32)
    places[list(THINGS)] = np.arange(len(THINGS))
    place, number = places[words & 0xFFFF], (words >> 16).astype(np.int32)
    number[place < 0] = 0
    if number.max(initial=0) > MAX_NUMBER:
        raise ValueError(
            f"{where}: expected things numbered up to {MAX_NUMBER} within their class, got "
            f"{number.max()}; number them anew from 1"
        )
    return np.where(number > 0, number * len(THINGS) + place, 0).astype(np.uint16)


def read_calibration(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`calib.txt` -> (intrinsic (3, 3), image_from_left (4, 4), left_from_lidar (4, 4)).

    The file's P2 = intrinsic [I | t] takes left-camera coordinates to pixels of image_2; Tr takes
    LiDAR coordinates to the left camera.
    """
    path = folder / "calib.txt"
    rows = {}
    for line in _lines(path, "with rows P2 and Tr"):
        key, _, numbers = line.partition(":")
        rows[key.strip()] = numbers.split()
    matrices = []
    for key in ("P2", "Tr"):
        if key not in rows:
            raise ValueError(f"{path}: no row {key}; found {', '.join(rows) or 'none'}")
        matrices.append(_matrix(rows[key], f"{path}: {key}"))
    projection, left_from_lidar = matrices
    intrinsic = projection[:3, :3]
    image_from_left = rigid(np.eye(3), np.linalg.solve(intrinsic, projection[:3, 3]))
    return intrinsic, image_from_left, left_from_lidar


def read_trajectory(folder: Path) -> tuple[np.ndarray, list[int]]:
    """`poses.txt`, `times.txt`, Tr -> (world_from_lidar of every row (R, 4, 4), stamps (R,) list of
    int ns).

    The poses of this layout are those of the left camera, in the frame of the first left camera
    (checked for SemanticKITTI and for the
    PandaSet folder: standing walls of scans 20 m apart fall onto each other so, and only so). Tr on
    both sides makes them poses of the LiDAR in the frame of the first scan's LiDAR, z up.
    """
    _, _, left_from_lidar = read_calibration(folder)
    path = folder / "poses.txt"
    lines = _lines(path, "with 12 numbers a scan")
    poses = [
        invert(left_from_lidar) @ _matrix(line.split(), f"{path}, line {row + 1}") @ left_from_lidar
        for row, line in enumerate(lines)
    ]
    times_path = folder / "times.txt"
    times = _lines(times_path, "with the seconds of each scan")
    if len(times) != len(poses):
        raise ValueError(
            f"{times_path}: expected {len(poses)} rows, as poses.txt has, got {len(times)}"
        )
    try:
        stamps = [round(float(text) * 1e9) for text in times]
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{times_path}: expected seconds, one number a row: {error}") from error
    return np.array(poses), stamps


def read_views(folder: Path, stem: str, stamp: int = 0) -> tuple[CameraView, ...]:
    """The images of a scan as CameraViews: that of image_2 with `camera_from_lidar` from P2 and
    Tr, or those that cameras.json lists.
    """
    if (folder / CAMERAS).exists():
        return tuple(
            _read_view(folder, stem, stamp, entry) for entry in _read_cameras(folder / CAMERAS)
        )
    intrinsic, image_from_left, left_from_lidar = read_calibration(folder)
    camera = {
        "name": FIRST_CAMERA,
        "folder": FIRST_CAMERA,
        "intrinsic": intrinsic,
        "camera_from_lidar": image_from_left @ left_from_lidar,
        "late_ns": 0,
    }
    return (_read_view(folder, stem, stamp, camera),)


def _read_view(folder, stem, stamp, camera):
    where = folder / camera["folder"]
    candidates = [where / f"{stem}{ending}" for ending in IMAGE_ENDINGS]
    path = next((path for path in candidates if path.exists()), candidates[0])
    advice = (
        f"expected one for scan {stem} ({', '.join(IMAGE_ENDINGS)}); fetch {camera['folder']} or "
        "read with images=False"
    )
    image = read_image(path, camera["intrinsic"], advice)
    return CameraView(
        camera["name"],
        image,
        camera["intrinsic"],
        camera["camera_from_lidar"],
        stamp=max(stamp + camera["late_ns"], 0),
    )


def _read_cameras(path):
    """The entries of cameras.json, with matrices as arrays."""
    try:
        return [
            {
                "name": str(entry["name"]),
                "folder": str(entry["folder"]),
                "intrinsic": np.array(entry["intrinsic"], np.float64).reshape(3, 3),
                "camera_from_lidar": np.array(entry["camera_from_lidar"], np.float64).reshape(4, 4),
                "late_ns": int(entry["late_ns"]),
            }
            for entry in json.loads(path.read_text())
        ]
    except (ValueError, KeyError, TypeError) as error:
        expected = "a list of name, folder, intrinsic (3 x 3), camera_from_lidar (4 x 4), late_ns"
        raise ValueError(
            f"{path}: expected {expected}: {error!r}; make the sequence again, or read with "
            "images=False"
        ) from error


def _lines(path, what):
    if not path.exists():
        raise FileNotFoundError(f"{path}: expected a file {what}")
    try:
        text = path.read_text()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: expected text {what}, got bytes that are none ({error.reason} at "
            f"{error.start}); fetch the file again"
        ) from error
    return [line for line in text.splitlines() if line.strip()]


def _matrix(texts, where):
    """12 numbers, row by row -> (4, 4) float64 with last row 0 0 0 1."""
    try:
        numbers = np.array(texts, np.float64)
    except ValueError as error:
        raise ValueError(f"{where}: expected 12 numbers: {error}") from error
    if numbers.shape != (12,):
        raise ValueError(f"{where}: expected 12 numbers, got {numbers.size}")
    if not np.isfinite(numbers).all():
        raise ValueError(
            f"{where}: holds NaN or infinity; leave the scan out or read with poses=False"
        )
    return np.vstack([numbers.reshape(3, 4), (0.0, 0.0, 0.0, 1.0)])
