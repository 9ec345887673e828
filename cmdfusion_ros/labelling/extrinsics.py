"""Lens and place of every camera: from CameraInfo, calibration files and transforms, cached, for
the worker and for the synchroniser's question
"could this camera be used?".
"""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cmdfusion_ros.config import LiveSettings
from cmdfusion_ros.frame import Distortion
from cmdfusion_ros.labelling.diagnostics.facts import CameraFacts
from cmdfusion_ros.labelling.settings import NodeSettings
from cmdfusion_ros.messages.camera_info import read_calibration_file, read_camera_info
from cmdfusion_ros.messages.clouds import MessageError
from cmdfusion_ros.messages.transforms import (
    ExtrapolationError,
    Tf2Buffer,
    TransformBuffer,
    TransformError,
)

_POLL = 0.002  # seconds between looks for a transform that the worker waits for


@dataclass(frozen=True, eq=False)
class CameraGeometry:
    """Lens of a camera.

    Attributes:
        intrinsic: (3, 3) float64, pixels. distortion: Distortion or None. image_size: (width,
            height) in pixels.
        frame_id: its optical frame. camera_from_lidar: (4, 4) from a calibration file, which then
            needs no transforms; else None.
    """

    intrinsic: np.ndarray
    distortion: Distortion | None
    image_size: tuple[int, int]
    frame_id: str
    camera_from_lidar: np.ndarray | None = None


class UncalibratedError(MessageError):
    """A camera without usable calibration."""


class Extrinsics:
    """What is known of lenses and places. Any thread may call any method; only lookups of the
    worker wait, for at most `tf.timeout`.

    Args:
        buffer: TransformBuffer or Tf2Buffer. settings: LiveSettings of NodeSettings;
            calibration files are read here.
        now: seconds of a steady clock.

    Attributes:
        transforms: the buffer as given.
        uncompensated: how often a moving lookup had to fall back to the static transform, by
            camera.
        problems: {camera: why its CameraInfo cannot be used}.

    Raises:
        MessageError: a calibration file cannot be read.
    """

    def __init__(
        self,
        buffer: TransformBuffer | Tf2Buffer,
        settings: LiveSettings[NodeSettings],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.transforms, self._now = buffer, now
        self._lock = threading.Lock()
        self._geometries: dict[str, CameraGeometry] = {}
        # (target, source) -> (time of lookup, matrix)
        self._cache: dict[tuple[str, str], tuple[float, np.ndarray]] = {}
        # camera -> the numbers last read, so that an unchanged CameraInfo costs nothing
        self._last_info: dict[str, tuple[Any, ...]] = {}
        self._settings = settings
        self.uncompensated = dict.fromkeys(settings.current.cameras, 0)
        self.problems: dict[str, str] = {}
        for camera, own in settings.current.camera_settings.items():
            if own.calibration_file:
                found = read_calibration_file(own.calibration_file, own.rectified)
                self._geometries[camera] = CameraGeometry(
                    found.intrinsic,
                    found.distortion,
                    found.image_size,
                    own.frame,
                    found.camera_from_lidar,
                )

    def take_camera_info(self, camera: str, message: Any) -> bool:
        """Take in a CameraInfo; returns whether it changed anything. One that cannot be used
        leaves the camera uncalibrated, with its reason.
        """
        own = self._settings.current.camera_settings[camera]
        numbers = (
            tuple(message.k),
            tuple(message.d),
            tuple(message.p),
            message.width,
            message.height,
            message.distortion_model,
            message.header.frame_id,
            message.binning_x,
            message.binning_y,
            message.roi.x_offset,
            message.roi.y_offset,
            message.roi.width,
            message.roi.height,
        )
        if self._last_info.get(camera) == numbers:
            return False
        self._last_info[camera] = numbers
        try:
            if own.calibration_file:
                # its lens stands; only the name of its frame is news
                known = self._geometries[camera]
                lens = known.intrinsic, known.distortion, known.image_size, known.camera_from_lidar
            else:
                lens = *read_camera_info(message, own.rectified), None
        except MessageError as error:
            self.problems[camera] = str(error)
            with self._lock:
                self._geometries.pop(camera, None)
            return True
        self.problems.pop(camera, None)
        with self._lock:
            self._geometries[camera] = CameraGeometry(
                *lens[:3], own.frame or message.header.frame_id, lens[3]
            )
        return True

    def calibrated(self, camera: str) -> bool:
        with self._lock:
            return camera in self._geometries

    def geometry(self, camera: str) -> CameraGeometry:
        """CameraGeometry of `camera`; UncalibratedError where there is none yet."""
        with self._lock:
            if camera in self._geometries:
                return self._geometries[camera]
        topic = self._settings.current.camera_settings[camera].camera_info_topic
        raise UncalibratedError(
            self.problems.get(camera)
            or (
                f"camera {camera}: nothing came on {topic} yet; is it published? or give a "
                "calibration_file"
            )
        )

    def missing_transform(self, camera: str, frame_id: str | None) -> str:
        """Why `camera` cannot be placed relative to the frame `frame_id` of the clouds; "" where it
        can, where it is not calibrated, or while no cloud has come (None). Never waits.
        """
        if frame_id is None or not self.calibrated(camera):
            return ""
        try:
            self._static(self.geometry(camera), frame_id, 0.0)
        except TransformError as error:
            return str(error)
        return ""

    def camera_from_lidar(
        self, camera: str, frame_id: str, cloud_stamp: int, image_stamp: int
    ) -> np.ndarray:
        """(4, 4) from the cloud's frame at its stamp to the camera's optical frame at the image's
        stamp.

        With `sync.fixed_frame` the motion between the two stamps is taken out, for a place from a
        calibration file too; where that is not possible the static transform is used and counted.

        Raises:
            TransformError: the two are not joined. UncalibratedError: no geometry.
        """
        geometry = self.geometry(camera)
        fixed = self._settings.current.sync.fixed_frame
        # by a calibration file: then it is the LiDAR whose motion is looked up
        placed = geometry.camera_from_lidar
        target = geometry.frame_id if placed is None else frame_id
        if fixed and target:
            try:
                target_from_lidar = self._awaited(
                    lambda: self.transforms.lookup_full(
                        target, image_stamp, frame_id, cloud_stamp, fixed
                    )
                )
                return target_from_lidar if placed is None else placed @ target_from_lidar
            except TransformError:
                self.uncompensated[camera] += 1
        return self._static(geometry, frame_id, self._settings.current.tf.timeout)

    def frame_from_lidar(self, frame_id: str, stamp: int) -> np.ndarray | None:
        """(4, 4) from the cloud's frame to `points.frame`, or None where they are the same.
        Raises TransformError.
        """
        wanted = self._settings.current.points.frame
        if not wanted or wanted == frame_id:
            return None
        try:
            return self._awaited(lambda: self.transforms.lookup(wanted, frame_id, stamp))
        except ExtrapolationError:
            return self.transform(wanted, frame_id)

    def transform(self, target: str, source: str) -> np.ndarray:
        """target_from_source (4, 4), the newest known; cached for `tf.refresh_period`. Raises
        TransformError.
        """
        return self._cached(target, source, self._settings.current.tf.timeout)

    def last_place(self, camera: str, frame_id: str) -> tuple[CameraGeometry, np.ndarray] | None:
        """(CameraGeometry, camera_from_lidar) of `camera` as they stand, or None. Never waits."""
        try:
            geometry = self.geometry(camera)
            return geometry, self._static(geometry, frame_id, 0.0)
        except (TransformError, MessageError):
            return None

    def facts(self, camera: str, frame_id: str | None) -> CameraFacts:
        """CameraFacts of `camera` for clouds in the frame `frame_id` (None before the first
        cloud).
        """
        with self._lock:
            geometry = self._geometries.get(camera)
            found = self._cache.get((geometry.frame_id, frame_id or "")) if geometry else None
        if geometry is None:
            topic = self._settings.current.camera_settings[camera].camera_info_topic
            return CameraFacts(
                False,
                self.problems.get(camera, f"no CameraInfo on {topic} yet"),
                "",
                None,
                math.nan,
                0,
            )
        missing = self.missing_transform(camera, frame_id)
        age = self._now() - found[0] if found else math.nan
        return CameraFacts(
            True, missing, geometry.frame_id, geometry.image_size, age, self.uncompensated[camera]
        )

    def forget(self) -> None:
        """Look everything up again at the next use: /tf_static spoke, or time jumped."""
        with self._lock:
            self._cache.clear()

    def _static(self, geometry: CameraGeometry, frame_id: str, timeout: float) -> np.ndarray:
        if geometry.camera_from_lidar is not None:
            return geometry.camera_from_lidar
        if not geometry.frame_id:
            raise TransformError("the camera's CameraInfo has no frame_id; set <camera>.frame")
        if not frame_id:
            raise TransformError("the clouds have no frame_id; set it in the LiDAR's driver")
        return self._cached(geometry.frame_id, frame_id, timeout)

    def _cached(self, target: str, source: str, timeout: float) -> np.ndarray:
        period = self._settings.current.tf.refresh_period
        with self._lock:
            found = self._cache.get((target, source))
        if found and not (period and self._now() - found[0] > period):
            return found[1]
        try:
            matrix = self._awaited(lambda: self.transforms.lookup(target, source), timeout)
        except TransformError:
            if found:
                # what held a moment ago is better than nothing while a publisher restarts
                return found[1]
            raise
        with self._lock:
            self._cache[target, source] = (self._now(), matrix)
        return matrix

    def _awaited(
        self, lookup: Callable[[], np.ndarray], timeout: float | None = None
    ) -> np.ndarray:
        """`lookup()`, tried again until it works or `timeout` (default `tf.timeout`) is over.
        Transforms come in on another thread.
        """
        end = self._now() + (self._settings.current.tf.timeout if timeout is None else timeout)
        while True:
            try:
                return lookup()
            except TransformError:
                if self._now() >= end:
                    raise
                time.sleep(_POLL)
