"""Labelled clouds and the cameras around them as a recording for the Rerun viewer (.rrd)."""

from pathlib import Path
from types import ModuleType

import numpy as np

from cmdfusion_ros.class_map import ClassMap

_LIDAR, _CAMERAS = "world/lidar", "world/cameras"
_UNLABELLED = (90, 90, 90)  # RGB


class RerunFile:
    """Writes a .rrd; use it in a `with`. All of it lies on the timeline `stamp`, the clouds also
    on `scan`, which counts them from 0. Class ids are those of published clouds.

    Args:
        path: file to make. name: of the recording, in the viewer. class_map: of the labels.

    Raises:
        ModuleNotFoundError: Rerun is not installed.
    """

    def __init__(self, path: str | Path, name: str, class_map: ClassMap):
        self._rerun = rerun = require_rerun()
        self._to = rerun.RecordingStream("cmdfusion", recording_id=name)
        self._to.save(str(path))
        named = {class_map.ignore_raw: rerun.AnnotationInfo(
            class_map.ignore_raw, "unlabelled", _UNLABELLED)}  # fmt: skip
        named |= {
            each.raw: rerun.AnnotationInfo(each.raw, each.name, each.color)
            for each in class_map.classes
        }
        self._to.log("world", rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        self._to.log("world", rerun.AnnotationContext(list(named.values())), static=True)
        self._clouds = 0

    def __enter__(self) -> "RerunFile":
        return self

    def __exit__(self, *exception: object) -> None:
        self._to.flush()
        self._to.disconnect()

    def cloud(
        self, stamp: int, points: np.ndarray, raw: np.ndarray, world_from_lidar: np.ndarray
    ) -> None:
        """Add a cloud: stamp in ns, (N, 3) metres in the LiDAR's frame, (N,) published ids."""
        self._at(stamp)
        self._to.set_time("scan", sequence=self._clouds)
        self._to.log(_LIDAR, self._transform(world_from_lidar))
        points, raw = points.astype(np.float32), raw.astype(np.uint16)
        self._to.log(f"{_LIDAR}/points", self._rerun.Points3D(points, class_ids=raw))
        self._clouds += 1

    def camera(self, name: str, intrinsic: np.ndarray, size: tuple[int, int]) -> None:
        """Add a camera without distortion, which looks along its z: (3, 3), (width, height)."""
        xyz = self._rerun.ViewCoordinates.RDF
        pinhole = self._rerun.Pinhole(image_from_camera=intrinsic, resolution=size, camera_xyz=xyz)
        self._to.log(f"{_CAMERAS}/{name}", pinhole, static=True)

    def picture(
        self, name: str, stamp: int, contents: bytes, kind: str, world_from_camera: np.ndarray
    ) -> None:
        """Add a picture of a camera, and where that was at its stamp; `kind` is jpeg or png."""
        self._at(stamp)
        self._to.disable_timeline("scan")
        image = self._rerun.EncodedImage(contents=contents, media_type=f"image/{kind}")
        self._to.log(f"{_CAMERAS}/{name}", self._transform(world_from_camera), image)

    def _at(self, stamp: int) -> None:
        self._to.set_time("stamp", timestamp=np.datetime64(stamp, "ns"))

    def _transform(self, parent_from_child: np.ndarray) -> object:
        turn, shift = parent_from_child[:3, :3], parent_from_child[:3, 3]
        return self._rerun.Transform3D(translation=shift, mat3x3=turn)


def require_rerun() -> ModuleType:
    """The module `rerun`.

    Raises:
        ModuleNotFoundError: it is not installed; says what to do.
    """
    try:
        import rerun
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "--rrd: Rerun is not installed: pip install 'cmdfusion_ros[rerun]'"
        ) from error
    return rerun
