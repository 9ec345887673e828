"""Drives from folders in the layouts of SemanticKITTI, nuScenes and PandaSet, labels or none."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.data.drives.drive import placed
from cmdfusion_ros.data.drives.odometry import STANDING, kiss_icp_trajectory, standing_trajectory
from cmdfusion_ros.data.readers.nuscenes import NuScenes
from cmdfusion_ros.data.readers.pandaset import PandaSet
from cmdfusion_ros.data.readers.scan_set import ScanSet
from cmdfusion_ros.data.readers.semantic_kitti import CAMERAS, SemanticKitti, read_trajectory
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.geometry.trajectory import Trajectory
from cmdfusion_ros.messages.transforms import TransformBuffer

_SCAN_NS = 100_000_000  # between scans of a folder that has no times.txt


class _Read:
    """What the drives below share: their scans by two readers, without pictures (`_bare`) and with
    them (`_full`).
    """

    _bare: ScanSet
    _full: ScanSet
    transforms = TransformBuffer()

    @property
    def names(self) -> tuple[str, ...]:
        return self._bare.names

    def __len__(self) -> int:
        return len(self._bare)

    def read(self, index: int, images: bool = True, every_row: bool = False) -> Frame:
        return (self._full if images else self._bare)[index]


class KittiDrive(_Read):
    """One sequence in SemanticKITTI's layout; its own poses where it has any, else KISS-ICP's.

    Args:
        root: folder that holds `sequences/00` or `00`. sequence: name of the sequence's folder.
        odometry: "auto", "recorded" (poses.txt and nothing else), "kiss-icp" or "none": it stands.

    Raises:
        FileNotFoundError, ValueError: see SemanticKitti. ModuleNotFoundError: KISS-ICP is needed
            and not installed.
    """

    def __init__(self, root: Path, sequence: str, odometry: str = "auto"):
        self.name = sequence
        class_map = load_class_map("street")  # nothing is read with it: there are no labels
        options = {"labels": False, "called": root.resolve().name}
        folder = next(
            (each for each in (root / "sequences" / sequence, root / sequence) if each.is_dir()),
            root / sequence,
        )
        recorded = all((folder / name).exists() for name in ("poses.txt", "times.txt"))
        if odometry == "recorded" and not recorded:
            raise FileNotFoundError(f"{folder}: no poses.txt with times.txt; take another odometry")
        self._has_stamps = recorded
        self._late_ns = _late_ns(folder)
        self._bare = SemanticKitti(root, [sequence], class_map, poses=recorded, **options)
        self._full = SemanticKitti(
            root, [sequence], class_map, poses=recorded, images=True, **options
        )
        if odometry == STANDING:
            self._has_stamps = False
            self._trajectory = standing_trajectory((i + 1) * _SCAN_NS for i in self._all)
            self.odometry = STANDING
        elif recorded and odometry != "kiss-icp":
            poses, stamps = read_trajectory(folder)
            self._trajectory = _growing(np.array(stamps, np.int64), poses)
            self.odometry = "poses.txt"
        else:
            scans = (
                (self._stamped(self._bare[i], i).stamp, self._bare[i].points) for i in self._all
            )
            self._trajectory = kiss_icp_trajectory(scans, str(folder))
            self.odometry = "KISS-ICP"

    @property
    def _all(self) -> range:
        return range(len(self._bare))

    def read(self, index: int, images: bool = True, every_row: bool = False) -> Frame:
        return placed(self._stamped(super().read(index, images), index), self._trajectory)

    def _stamped(self, frame: Frame, index: int) -> Frame:
        """With stamps also where the folder has none, so that late images are placed late."""
        if self._has_stamps:
            return frame
        stamp = (index + 1) * _SCAN_NS
        views = tuple(
            replace(view, stamp=stamp + self._late_ns.get(view.name, 0)) for view in frame.views
        )
        return replace(frame, stamp=stamp, views=views)


def _late_ns(folder: Path) -> dict[str, int]:
    """{camera: how long after its scan a picture was taken}; empty where there is one camera."""
    path = folder / CAMERAS
    if not path.exists():
        return {}
    return {entry["name"]: int(entry["late_ns"]) for entry in json.loads(path.read_text())}


def _growing(stamps: np.ndarray, poses: np.ndarray) -> Trajectory:
    """The Trajectory of rows whose stamps grow; a row that repeats a stamp is left out."""
    keep = np.concatenate([[True], np.diff(np.maximum.accumulate(stamps)) > 0])
    return Trajectory(stamps[keep], poses[keep])


class PlacedDrive(_Read):
    """Scans whose reader gives each its pose and each camera its exact place: those of nuScenes
    and of PandaSet as it is distributed.

    Args:
        name: of the recording. open_scans: called with images=True or False gives the reader.
    """

    odometry = "recorded poses"

    def __init__(self, name: str, open_scans: Callable[..., ScanSet]):
        self.name = name
        self._bare, self._full = open_scans(images=False), open_scans(images=True)


def _scenes(path: Path) -> list[str]:
    """Names of the scenes of a folder in nuScenes' layout."""
    rows = [
        row for table in path.glob("v1.0-*/scene.json") for row in json.loads(table.read_text())
    ]
    return sorted(row["name"] for row in rows)


def open_folder(path: Path, odometry: str = "auto") -> list[KittiDrive | PlacedDrive]:
    """The drives in a folder, one a sequence (scene), in order of name.

    Raises:
        ValueError: the folder has none of the layouts. Others as of the readers.
    """
    class_map = load_class_map("street")
    if (path / "velodyne").is_dir():
        return [KittiDrive(path.resolve().parent, path.resolve().name, odometry)]
    found = {
        each.parent
        for pattern in ("sequences/*/velodyne", "*/velodyne")
        for each in path.glob(pattern)
    }
    if found:
        return [KittiDrive(path, folder.name, odometry) for folder in sorted(found)]
    if any(path.glob("v1.0-*")):
        scenes = _scenes(path)
        return [
            PlacedDrive(
                scene,
                lambda images, s=scene: NuScenes(path, [s], class_map, labels=False, images=images),
            )
            for scene in scenes
        ]
    root = path.parent if (path / "lidar").is_dir() else path
    names = sorted(each.parent.name for each in root.glob("*/lidar"))
    if (path / "lidar").is_dir():
        names = [path.name]
    if names:
        return [
            PlacedDrive(
                name,
                lambda images, n=name: PandaSet(root, [n], class_map, labels=False, images=images),
            )
            for name in names
        ]
    raise ValueError(
        f"{path}: expected a bag, or a folder in the layout of SemanticKITTI "
        "(sequences/00/velodyne), nuScenes (v1.0-*) or PandaSet (002/lidar); found none of these"
    )
