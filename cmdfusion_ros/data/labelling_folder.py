"""Scans with labels -> a folder that SemanticKITTI's point_labeler opens, a person corrects and
`cmdfusion train` learns from (docs/labelling.md).
"""

from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.geometry.transforms import invert

CLASS_LIST = "labels.xml"
_IDENTITY = "1 0 0 0 0 1 0 0 0 0 1 0"
_ROOT = "void"  # point_labeler's menu: a class under none of its groups


def new_sequence(root: str | Path, name: str) -> Path:
    """Where a sequence will lie; FileExistsError where there is one of this name, perhaps with a
    person's work in it.
    """
    path = Path(root) / "sequences" / name
    if path.exists():
        raise FileExistsError(f"{path}: exists, perhaps with corrected labels; give another --out")
    return path


class LabellingFolder:
    """One sequence in SemanticKITTI's layout, `<root>/sequences/<name>`, scan after scan.

    Writes velodyne/, labels/, calib.txt, poses.txt (of the LiDAR, from the first scan; Tr is 1),
    times.txt and scans.txt, which says what each scan is called where it came from.

    Args:
        root: the folder of all sequences. name: of this one. class_map: of the labels.

    Raises:
        FileExistsError: see `new_sequence`.
    """

    def __init__(self, root: str | Path, name: str, class_map: ClassMap):
        self.path = new_sequence(root, name)
        for part in ("velodyne", "labels"):
            (self.path / part).mkdir(parents=True)
        rows = "".join(f"P{number}: {_IDENTITY}\n" for number in range(4))
        (self.path / "calib.txt").write_text(f"{rows}Tr: {_IDENTITY}\n")
        self._class_map, self._count = class_map, 0
        self._first_from_world, self._first_stamp = np.eye(4), 0

    def add(self, frame: Frame, labels: np.ndarray) -> None:
        """The next scan: a Frame with its pose, and (N,) labels of the class map."""
        if not self._count:
            self._first_from_world, self._first_stamp = invert(frame.world_from_lidar), frame.stamp
        stem = f"{self._count:06d}"
        points = np.column_stack([frame.points, frame.intensity]).astype("<f4")
        points.tofile(self.path / "velodyne" / f"{stem}.bin")
        raw = self._class_map.raw_from_labels(labels).astype("<u4")
        raw.tofile(self.path / "labels" / f"{stem}.label")
        pose = (self._first_from_world @ frame.world_from_lidar)[:3].reshape(-1)
        self._append("poses.txt", " ".join(repr(float(value)) for value in pose))
        self._append("times.txt", f"{(frame.stamp - self._first_stamp) / 1e9:.9f}")
        self._append("scans.txt", f"{stem} {frame.name}")
        self._count += 1

    def _append(self, name: str, line: str) -> None:
        with (self.path / name).open("a") as file:
            file.write(line + "\n")


def write_class_list(root: str | Path, class_map: ClassMap) -> Path:
    """Write labels.xml, the classes as point_labeler reads them (`getLabels` in its
    src/data/label_utils.cpp): id, name, colour, its place in the menu. Returns its path.

    Raises:
        FileExistsError: see `write_once`.
    """
    entries = [(class_map.ignore_raw, "unlabeled", (0, 0, 0), False)]
    entries += [(each.raw, each.name, each.color, each.thing) for each in class_map.classes]
    lines = ["<config>"]
    for raw, name, color, thing in entries:
        lines += [
            "  <label>",
            f"    <id>{raw}</id>",
            f"    <name>{escape(name)}</name>",
            f"    <description>{escape(name)}</description>",
            f"    <color>{' '.join(map(str, color))}</color>",
            f"    <root>{_ROOT}</root>",
            *(["    <instanceable>true</instanceable>"] if thing else []),
            "  </label>",
        ]
    return write_once(Path(root) / CLASS_LIST, "\n".join([*lines, "</config>"]) + "\n", class_map)


def write_once(path: Path, text: str, class_map: ClassMap) -> Path:
    """Write a list of classes, or find the same one there; returns its path.

    Raises:
        FileExistsError: the folder has a list of other classes: its labels mean something else.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.read_text() != text:
        raise FileExistsError(
            f"{path}: has other classes than {class_map.name}; give --classes those of that folder,"
            " or another --out"
        )
    path.write_text(text)
    return path
