"""The Waymo Open Dataset's perception set, version 2 -> Frames.

One folder a component and one Parquet file a segment: `lidar/<segment>.parquet`, beside it
`lidar_calibration`, `lidar_pose`, `vehicle_pose`, `lidar_segmentation`, and for images
`camera_image`, `camera_calibration`; all of them in `training` and `validation`, or straight in
the root. Columns have the names of the published components ("[LiDARComponent].range_image_...").

A Frame's points are in the vehicle's axes (x forward, y left, z up) with the origin in the TOP
LiDAR, as networks know the height of a sensor, not the ground under a rear axle. Only the TOP
LiDAR has labels, and only some frames of a segment: the scans of this set are those; others serve
as sweeps, without labels. Reading needs pyarrow.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cmdfusion_ros.data.readers.parquet_rows import ParquetRows
from cmdfusion_ros.data.readers.range_images import decode, image_of, points_of
from cmdfusion_ros.data.readers.scan_set import NumberedScans
from cmdfusion_ros.frame import IGNORE_LABEL, CameraView, Distortion, Frame, require_rigid
from cmdfusion_ros.geometry.transforms import invert, rigid

TOP, LIDARS = 1, {1: "TOP", 2: "FRONT", 3: "SIDE_LEFT", 4: "SIDE_RIGHT", 5: "REAR"}
CAMERAS = {1: "FRONT", 2: "FRONT_LEFT", 3: "FRONT_RIGHT", 4: "SIDE_LEFT", 5: "SIDE_RIGHT"}
SPLITS = ("training", "validation", "testing")
OPTICAL_FROM_CAMERA = rigid(np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]), np.zeros(3))
_TIME, _LASER, _CAMERA = "key.frame_timestamp_micros", "key.laser_name", "key.camera_name"
_RETURNS = tuple(
    f"range_image_return{number}.{what}" for number in (1, 2) for what in ("values", "shape")
)
_COMPONENTS = {  # folder: (component, keys, columns)
    "lidar": ("LiDARComponent", (_TIME, _LASER), _RETURNS),
    "lidar_segmentation": ("LiDARSegmentationLabelComponent", (_TIME, _LASER), _RETURNS),
    "lidar_pose": ("LiDARPoseComponent", (_TIME, _LASER), _RETURNS[:2]),
    "lidar_calibration": (
        "LiDARCalibrationComponent",
        (_LASER,),
        tuple(f"beam_inclination.{each}" for each in ("values", "min", "max"))
        + ("extrinsic.transform",),
    ),
    "vehicle_pose": ("VehiclePoseComponent", (_TIME,), ("world_from_vehicle.transform",)),
    "camera_image": (
        "CameraImageComponent",
        (_TIME, _CAMERA),
        ("image", "pose.transform", "pose_timestamp"),
    ),
    "camera_calibration": (
        "CameraCalibrationComponent",
        (_CAMERA,),
        tuple(f"intrinsic.{each}" for each in "f_u f_v c_u c_v k1 k2 p1 p2 k3".split())
        + ("extrinsic.transform", "width", "height"),
    ),
}


class Waymo(NumberedScans):
    """The labelled frames of some segments as Frames, in order of segment and time. A scan's
    number is its frame's place in its segment.

    Arguments and errors as of StoredScans; ModuleNotFoundError where pyarrow is not installed.
    root: folder of `training` and `validation`, or of the components themselves. sequences: names
    of segments, or of splits: all segments there that have labels. labels: read labels, and only
    frames that have some; otherwise every frame, without.

    Args:
        all_lidars: the four short-range LiDARs too. Their points have no labels.
    """

    own_dataset = "waymo"
    _nothing = "segments {} hold no labelled frame with a place"

    def __init__(self, *arguments: Any, all_lidars: bool = False, **options: Any) -> None:
        self._lasers = tuple(LIDARS) if all_lidars else (TOP,)
        super().__init__(*arguments, **options)

    def _find(self, sequences: Sequence[str]) -> Iterator[tuple[int, tuple[str, int]]]:
        labelled = self._read_labels
        self._nothing = self._nothing if labelled else "segments {} hold no frame with a place"
        self._folders = _segments(self.root, sequences, labelled)
        self._open: dict[tuple[str, str], ParquetRows] = {}
        self._times = {
            segment: sorted({key[0] for key in self._rows_of(segment, "vehicle_pose").keys})
            for segment in self._folders
        }
        for segment, times in self._times.items():
            for place, time in enumerate(times):
                if not labelled or self._has_labels(segment, time):
                    yield place, (segment, place)

    @staticmethod
    def _name(segment: str, place: int) -> str:
        return f"{segment}/{place:06d}"

    def neighbours(self, index: int, offsets: Sequence[int]) -> tuple[Frame, ...]:
        """The frames that come `offsets` before or after scan `index` in its segment, labelled or
        not, without images and labels; those past an end are left out."""
        segment, place = self._items[index]
        places = (place + offset for offset in offsets)
        inside = [each for each in places if 0 <= each < len(self._times[segment])]
        return tuple(self._frame(segment, each, images=False, labels=False) for each in inside)

    def _read(self, row: int, images: bool) -> Frame:
        return self._frame(*self._items[row], images=images, labels=self._read_labels)

    def _frame(self, segment: str, place: int, images: bool, labels: bool) -> Frame:
        time = self._times[segment][place]
        world_from_vehicle = self._pose_of(segment, time)
        vehicle_from_ours = rigid(np.eye(3), self._extrinsic(segment, TOP)[:3, 3])
        clouds, intensities, raws, ids = [], [], [], []
        for laser, number, kept, image in self._returns(segment, time):
            points = self._points(segment, time, laser, image, kept, world_from_vehicle)
            clouds.append(points - vehicle_from_ours[:3, 3])
            intensities.append(np.tanh(np.maximum(image[kept][:, 1], 0)))  # as U2MKD
            raw, instance = self._labels_of(segment, time, laser, number, kept, labels)
            raws.append(raw)
            ids.append(instance)
        world_from_ours = world_from_vehicle @ vehicle_from_ours
        return Frame(
            points=np.concatenate(clouds).astype(np.float32),
            intensity=np.concatenate(intensities).astype(np.float32),
            stamp=int(time) * 1000,
            views=self._views(segment, time, world_from_ours) if images else (),
            labels=np.concatenate(raws) if self._read_labels else None,
            instance_ids=np.concatenate(ids) if self._read_labels else None,
            world_from_lidar=world_from_ours if self._read_poses else None,
            name=f"{self._called}/{self._name(segment, place)}",
        )

    def _returns(self, segment: str, time: int):
        """(laser, number of the return, mask (H, W) of its points, image (H, W, 4)) of a frame."""
        for laser in self._lasers:
            row = self._row(segment, "lidar", (time, laser))
            where = self._where(segment, "lidar", time, laser)
            for number in (1, 2):
                if number == 2 and row["range_image_return2.values"] is None:
                    continue
                image = decode(row, number, 4, where)
                kept = image[..., 0] > 0
                if not np.isfinite(image[kept][:, :2]).all():
                    raise ValueError(f"{where}: range or intensity hold NaN or infinity")
                yield laser, number, kept, image

    def _points(
        self,
        segment: str,
        time: int,
        laser: int,
        image: np.ndarray,
        kept: np.ndarray,
        world_from_vehicle: np.ndarray,
    ) -> np.ndarray:
        """(N, 3) float64 in the vehicle's frame at the frame's time."""
        row = self._row(segment, "lidar_calibration", (laser,))
        where = self._where(segment, "lidar_calibration", laser)
        poses = None
        if laser == TOP:  # the others are moved to the frame's time already
            place = self._where(segment, "lidar_pose", time, laser)
            given = self._row(segment, "lidar_pose", (time, laser))
            poses = decode(given, 1, 6, place, like=kept)[kept]
        inclinations = _inclinations(row, len(image), where)
        extrinsic = self._extrinsic(segment, laser)
        return points_of(image[..., 0], kept, inclinations, extrinsic, poses, world_from_vehicle)

    def _labels_of(
        self, segment: str, time: int, laser: int, number: int, kept: np.ndarray, wanted: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        count = int(kept.sum())
        if not wanted or laser != TOP:
            return np.full(count, IGNORE_LABEL, np.uint8), np.zeros(count, np.uint16)
        where = self._where(segment, "lidar_segmentation", time, laser)
        row = self._row(segment, "lidar_segmentation", (time, laser))
        both = decode(row, number, 2, where, like=kept)[kept]  # instance id, class
        labels = self.class_map.labels_from_raw(both[:, 1], self.dataset, where=where)
        if count and not 0 <= both[:, 0].min() <= both[:, 0].max() <= 65535:
            raise ValueError(
                f"{where}: expected instance ids of 0 to 65535, got {both[:, 0].max()}"
            )
        return labels, both[:, 0].astype(np.uint16)

    def _views(
        self, segment: str, time: int, world_from_ours: np.ndarray
    ) -> tuple[CameraView, ...]:
        """Every camera's picture, placed by the vehicle's pose at the picture's own time."""
        return tuple(
            self._view(segment, time, camera, world_from_ours)
            for camera in sorted(CAMERAS)
            if (time, camera) in self._rows_of(segment, "camera_image").keys
        )

    def _view(
        self, segment: str, time: int, camera: int, world_from_ours: np.ndarray
    ) -> CameraView:
        where = self._where(segment, "camera_image", time, camera)
        row = self._row(segment, "camera_image", (time, camera))
        calibration = self._row(segment, "camera_calibration", (camera,))
        size = calibration["width"], calibration["height"]
        image = image_of(row["image"], size, where)
        about = self._where(segment, "camera_calibration", camera)
        vehicle_from_camera = _matrix(calibration["extrinsic.transform"], about)
        world_from_vehicle = _matrix(row["pose.transform"], where)
        optical_from_world = OPTICAL_FROM_CAMERA @ invert(world_from_vehicle @ vehicle_from_camera)
        f_u, f_v, c_u, c_v, *lens = (
            float(calibration[f"intrinsic.{each}"])
            for each in "f_u f_v c_u c_v k1 k2 p1 p2 k3".split()
        )
        # the set counts from the edge of the first pixel, we from its centre
        intrinsic = np.array([[f_u, 0, c_u - 0.5], [0, f_v, c_v - 0.5], [0, 0, 1.0]])
        return CameraView(
            CAMERAS[camera],
            image,
            intrinsic,
            optical_from_world @ world_from_ours,
            Distortion("plumb_bob", tuple(lens)) if any(lens) else None,
            stamp=round(row["pose_timestamp"] * 1e9),
        )

    def _has_labels(self, segment: str, time: int) -> bool:
        return (time, TOP) in self._rows_of(segment, "lidar_segmentation").keys

    def _extrinsic(self, segment: str, laser: int) -> np.ndarray:
        row = self._row(segment, "lidar_calibration", (laser,))
        where = self._where(segment, "lidar_calibration", laser)
        return _matrix(row["extrinsic.transform"], where)

    def _pose_of(self, segment: str, time: int) -> np.ndarray:
        row = self._row(segment, "vehicle_pose", (time,))
        return _matrix(
            row["world_from_vehicle.transform"], self._where(segment, "vehicle_pose", time)
        )

    def _row(self, segment: str, folder: str, key: tuple) -> dict:
        return self._rows_of(segment, folder).read(key)

    def _where(self, segment: str, folder: str, *key: int) -> str:
        return f"{self._rows_of(segment, folder).path}: row {', '.join(map(str, key))}"

    def _rows_of(self, segment: str, folder: str) -> ParquetRows:
        if (segment, folder) not in self._open:
            component, keys, columns = _COMPONENTS[folder]
            path = self._folders[segment] / folder / f"{segment}.parquet"
            self._open[segment, folder] = ParquetRows(path, f"[{component}].", keys, columns)
        return self._open[segment, folder]


def _segments(root: Path, sequences: Sequence[str], labels: bool) -> dict[str, Path]:
    """{segment: folder of the components}, in the order asked for."""
    folders = (*(root / split for split in SPLITS), root)
    found = {
        path.stem: folder
        for folder in folders
        for path in sorted((folder / "vehicle_pose").glob("*.parquet"))
    }
    wanted: dict[str, Path] = {}
    for sequence in sequences:
        if sequence in SPLITS:
            component = "lidar_segmentation" if labels else "lidar"
            paths = sorted((root / sequence / component).glob("*.parquet"))
            if not paths:
                raise FileNotFoundError(f"{root / sequence / component}: holds no .parquet file")
            wanted.update({path.stem: root / sequence for path in paths})
        elif sequence in found:
            wanted[sequence] = found[sequence]
        else:
            known = ", ".join(sorted(found)[:5]) or "none"
            raise FileNotFoundError(
                f"{root}: no segment {sequence!r} with a file in vehicle_pose; found {known}"
            )
    return wanted


def _matrix(values: Sequence[float] | np.ndarray | None, where: str) -> np.ndarray:
    """16 numbers, row by row -> (4, 4) rigid float64."""
    numbers = np.asarray([] if values is None else values, np.float64)
    if numbers.shape != (16,):
        raise ValueError(f"{where}: expected a transform of 16 numbers, got {numbers.size}")
    matrix = numbers.reshape(4, 4)
    require_rigid(where, matrix)
    return matrix


def _inclinations(row: dict, height: int, where: str) -> np.ndarray:
    """(H,) radians, of the rows of a range image from the top. The set lists them from below, or
    gives their range alone."""
    values = row["beam_inclination.values"]
    if values is None:
        low, high = row["beam_inclination.min"], row["beam_inclination.max"]
        values = low + (np.arange(height) + 0.5) / height * (high - low)
    values = np.asarray(values, np.float64)
    if len(values) != height:
        raise ValueError(
            f"{where}: has {len(values)} beam inclinations, the range image {height} rows"
        )
    return values[::-1]
