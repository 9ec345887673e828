"""Scans with labels -> files that Supervisely imports; what it exports -> scans with labels.

Import: "PCD with semantic labels", .pcd files with a field `label` and one class_mapping.json of
{label: class}. Export: "Supervisely format", DATASET/pointcloud/X.pcd and DATASET/ann/X.pcd.json,
whose figures of geometry `point_cloud` list the points of an object of a class. Both as Supervisely
documents them (docs/labelling.md has the links).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.data.labelling_folder import new_sequence, write_once
from cmdfusion_ros.data.readers.cloud_files import read_cloud_file
from cmdfusion_ros.frame import IGNORE_LABEL, Frame

MAPPING = "class_mapping.json"
_PERIOD_NS = 100_000_000  # a project has no times: 10 Hz
_FIELDS = np.dtype([(name, "<f4") for name in ("x", "y", "z", "intensity")] + [("label", "<u2")])
_HEADER = """\
# .PCD v0.7 - Point Cloud Data file format
VERSION 0.7
FIELDS x y z intensity label
SIZE 4 4 4 4 2
TYPE F F F F U
COUNT 1 1 1 1 1
WIDTH {size}
HEIGHT 1
VIEWPOINT 0 0 0 1 0 0 0
POINTS {size}
DATA binary
"""


class SuperviselyFolder:
    """One sequence as `<root>/sequences/<name>/<name>_000000.pcd`, scan after scan; arguments,
    errors and `add` as of LabellingFolder. The folder <root> is what Supervisely imports.
    """

    def __init__(self, root: str | Path, name: str, class_map: ClassMap):
        self.path = new_sequence(root, name)
        self.path.mkdir(parents=True)
        self._class_map, self._count = class_map, 0

    def add(self, frame: Frame, labels: np.ndarray) -> None:
        """The next scan: a Frame, and (N,) labels of the class map."""
        rows = np.zeros(frame.num_points, _FIELDS)
        rows["x"], rows["y"], rows["z"] = frame.points.T
        rows["intensity"], rows["label"] = frame.intensity, self._class_map.raw_from_labels(labels)
        header = _HEADER.format(size=frame.num_points).encode("ascii")
        path = self.path / f"{self.path.name}_{self._count:06d}.pcd"
        path.write_bytes(header + rows.tobytes())
        self._count += 1


def write_class_mapping(root: str | Path, class_map: ClassMap) -> Path:
    """Write class_mapping.json, {raw id: class}; returns its path. What has no label has no entry.

    Raises:
        FileExistsError: see `write_once`.
    """
    mapping = {str(each.raw): each.name for each in class_map.classes}
    return write_once(Path(root) / MAPPING, json.dumps(mapping, indent=1) + "\n", class_map)


class SuperviselyProject:
    """The scans of a project in Supervisely's own format, with the labels that people gave them.

    Args:
        root: folder with meta.json and the datasets. class_map: whose classes have the names of
            the project's.

    Raises:
        ValueError: no annotated scan in it.
    """

    def __init__(self, root: str | Path, class_map: ClassMap):
        self._class_map = class_map
        self._paths = sorted(Path(root).glob("*/ann/*.json"))
        if not self._paths:
            raise ValueError(f"{root}: expected DATASET/ann/NAME.pcd.json, got none; export again")

    @staticmethod
    def is_one(root: str | Path) -> bool:
        return (Path(root) / "meta.json").is_file() and any(Path(root).glob("*/ann"))

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, index: int) -> tuple[str, Frame, np.ndarray]:
        """(name of the dataset, Frame, (N,) labels) of a scan: IGNORE_LABEL where no figure is; of
        two figures over a point the later one counts. NaN points are left out.

        Raises:
            ValueError, FileNotFoundError: the file, and what is wrong with it.
        """
        path = self._paths[index]
        dataset = path.parents[1]
        points, intensity = read_cloud_file(dataset / "pointcloud" / path.stem)
        labels = np.full(len(points), IGNORE_LABEL, np.uint8)
        try:
            content = json.loads(path.read_text())
            titles = {each["key"]: each["classTitle"] for each in content["objects"]}
            figures = [each for each in content["figures"] if each["geometryType"] == "point_cloud"]
            for figure in figures:
                label = self._class_map.label(titles[figure["objectKey"]])
                labels[_rows_of(figure, len(points))] = label
        except (LookupError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: not readable as Supervisely's: {error}") from error
        finite = np.isfinite(np.c_[points, intensity]).all(axis=1)
        intensity = intensity[finite] / max(1.0, intensity[finite].max(initial=0))
        pose, name = np.eye(4), f"{dataset.name}/{Path(path.stem).stem}"
        stamp = (index + 1) * _PERIOD_NS
        frame = Frame(points[finite], intensity, stamp, world_from_lidar=pose, name=name)
        return dataset.name, frame, labels[finite]


def _rows_of(figure: dict[str, Any], size: int) -> np.ndarray:
    rows = np.array(figure["geometry"]["indices"], np.int64)
    if len(rows) and (rows.min() < 0 or rows.max() >= size):
        raise ValueError(f"points {rows.min()} to {rows.max()} of a scan of {size}")
    return rows
