"""PandaSet as it is distributed -> Frames.

One folder a sequence: `lidar/00.pkl.gz` (a pandas table x, y, z, i, t, d in world coordinates; d 0
= Pandar64, 1 = PandarGT), `annotations/semseg/00.pkl.gz` (a table with the column class, in the
same order), `camera/front_camera/00.jpg`, and poses.json, timestamps.json, intrinsics.json beside
them. A pose takes a sensor's coordinates to the world; the LiDAR's frame has x right and y forward
and is turned here to ours, x forward and y left.

The tables are pickles; nothing in them is run (`pickled_table.py`). Reading them needs pandas.
"""

import json

import numpy as np

from cmdfusion_ros.data.readers.image_files import read_image
from cmdfusion_ros.data.readers.pickled_table import read_pickled_table
from cmdfusion_ros.data.readers.scan_set import NumberedScans
from cmdfusion_ros.frame import CameraView, Frame
from cmdfusion_ros.geometry.transforms import apply, invert, rigid, rotation_from_quaternion

# our axes -> those of the files
SENSOR_FROM_LIDAR = rigid(np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), np.zeros(3))
PANDAR64 = 0


class PandaSet(NumberedScans):
    """The Pandar64's scans of some sequences as Frames, in order of sequence and number.

    Arguments and errors as of StoredScans; ModuleNotFoundError where pandas is not installed. root:
    folder that holds `002`, ... images: read all cameras there are.
    """

    own_dataset = "pandaset"

    def _find(self, sequences):
        self._folders = {sequence: self.root / sequence for sequence in sequences}
        self._tables = {}
        for sequence, folder in self._folders.items():
            if not (folder / "lidar").is_dir():
                known = sorted(path.parent.name for path in self.root.glob("*/lidar"))
                raise FileNotFoundError(
                    f"{folder}: no sequence with a folder lidar; found {', '.join(known) or 'none'}"
                )
            numbers = sorted(
                int(path.name.split(".")[0]) for path in (folder / "lidar").glob("*.pkl.gz")
            )
            yield from ((number, (sequence, number)) for number in numbers)

    @staticmethod
    def _name(sequence, number):
        return f"{sequence}/{number:06d}"  # as the same scan in SemanticKITTI's layout

    def _read(self, index, images):
        sequence, number = self._items[index]
        folder = self._folders[sequence]
        path = folder / "lidar" / f"{number:02d}.pkl.gz"
        table = _columns(path, ("x", "y", "z", "i", "d"))
        mine = table["d"] == PANDAR64
        cloud = np.column_stack([table[name] for name in "xyzi"]).astype(np.float64)[mine]
        if not np.isfinite(cloud).all():
            raise ValueError(
                f"{path}: {int((~np.isfinite(cloud)).any(axis=1).sum())} points hold NaN or "
                "infinity in x, y, z or i; fetch the file again"
            )
        world_from_lidar = self._pose(folder / "lidar", number) @ SENSOR_FROM_LIDAR
        labels = self._labels_of(folder, number, len(mine))[mine] if self._read_labels else None
        stamp = self._stamp(folder / "lidar", number)
        cameras = (
            sorted(path for path in (folder / "camera").glob("*") if path.is_dir())
            if images
            else ()
        )
        return Frame(
            points=apply(invert(world_from_lidar), cloud[:, :3]).astype(np.float32),
            intensity=np.clip(cloud[:, 3].astype(np.float32) / np.float32(255), 0, 1),
            stamp=stamp,
            views=tuple(self._view(camera, number, world_from_lidar) for camera in cameras),
            labels=labels,
            world_from_lidar=world_from_lidar if self._read_poses else None,
            name=self.name(index),
        )

    def _labels_of(self, folder, number, num_points):
        path = folder / "annotations" / "semseg" / f"{number:02d}.pkl.gz"
        raw = _columns(path, ("class",))["class"]
        if len(raw) != num_points:
            raise ValueError(
                f"{path}: expected {num_points} labels (one a point of both LiDARs), got "
                f"{len(raw)}; is the file cut short?"
            )
        return self.class_map.labels_from_raw(raw, self.dataset, where=str(path))

    def _view(self, camera, number, world_from_lidar):
        values = self._json(camera / "intrinsics.json")
        intrinsic = np.array(
            [[values["fx"], 0, values["cx"]], [0, values["fy"], values["cy"]], [0, 0, 1]],
            np.float64,
        )
        image = read_image(
            camera / f"{number:02d}.jpg",
            intrinsic,
            "fetch the camera's folder or read with images=False",
        )
        camera_from_lidar = invert(self._pose(camera, number)) @ world_from_lidar
        return CameraView(
            camera.name, image, intrinsic, camera_from_lidar, stamp=self._stamp(camera, number)
        )

    def _json(self, path):
        if path not in self._tables:
            if not path.exists():
                raise FileNotFoundError(f"{path}: is missing; fetch the sequence again")
            try:
                self._tables[path] = json.loads(path.read_text())
            except ValueError as error:
                raise ValueError(
                    f"{path}: not readable as JSON ({error}); fetch it again"
                ) from error
        return self._tables[path]

    def _row(self, path, number):
        rows = self._json(path)
        if number >= len(rows):
            raise ValueError(
                f"{path}: has {len(rows)} rows, scan {number:02d} needs row {number + 1}; fetch "
                "the whole file"
            )
        return rows[number]

    def _pose(self, folder, number):
        row = self._row(folder / "poses.json", number)
        position, heading = (
            [row[key][axis] for axis in axes]
            for key, axes in (("position", "xyz"), ("heading", "xyzw"))
        )
        if not np.isfinite([*position, *heading]).all():
            raise ValueError(
                f"{folder / 'poses.json'}, row {number + 1}: holds NaN or infinity; leave the "
                "scan out"
            )
        return rigid(rotation_from_quaternion(heading), np.array(position))

    def _stamp(self, folder, number):
        return round(float(self._row(folder / "timestamps.json", number)) * 1e9)


def _columns(path, names):
    """The columns of a pickled pandas table as numpy arrays, by name."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: is missing; fetch it, or leave the scan out")
    table = read_pickled_table(path)
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise ValueError(
            f"{path}: expected columns {', '.join(names)}, got {', '.join(map(str, table.columns))}"
        )
    return {name: table[name].to_numpy() for name in names}
