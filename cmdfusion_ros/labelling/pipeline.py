"""From a paired cloud to its labels: PairedCloud + calibration + transforms -> Frame -> Prediction.
No ROS in here.

This is the job of the worker thread. A camera that cannot be used (undecodable image, no transform,
wrong size) is left out of that one cloud with its reason; a network that fails with images is tried
again without (R15 of docs/synchroniser.md).
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from cmdfusion_ros.config import LiveSettings
from cmdfusion_ros.frame import CameraView, Frame, Prediction
from cmdfusion_ros.geometry.projection import project_points
from cmdfusion_ros.geometry.transforms import apply, invert
from cmdfusion_ros.labelling.extrinsics import Extrinsics, UncalibratedError
from cmdfusion_ros.labelling.labelled_cloud import CameraReport, LabelledCloud, Timings
from cmdfusion_ros.labelling.model import AnySegmenter
from cmdfusion_ros.labelling.network_frame import NetworkFrame
from cmdfusion_ros.labelling.sections import PointsSettings
from cmdfusion_ros.labelling.settings import NodeSettings
from cmdfusion_ros.messages.clouds import Cloud, read_cloud, usable_points
from cmdfusion_ros.messages.images import ImageSizeError, image_decoder
from cmdfusion_ros.messages.transforms import TransformError
from cmdfusion_ros.pairing.paired_cloud import CameraStatus, PairedCloud, PairedImage, mode_of

_VISIBLE_SAMPLE = 4096  # points projected to see whether a camera sees any: 0.2 ms
_DECODERS = 4  # threads; OpenCV frees the GIL while it decodes


class Pipeline:
    """The job of the worker. Called with a PairedCloud it returns a LabelledCloud.

    Args:
        segmenter: has `segment(frame) -> Prediction`, and may have `within_reach(points) -> (N,)
            bool` for points that its grid cannot hold.
        extrinsics: has `geometry(camera) -> CameraGeometry`, `camera_from_lidar(camera, frame_id,
            cloud_stamp, image_stamp)`, `frame_from_lidar(frame_id, cloud_stamp)`, which raise
            TransformError or MessageError, and `transforms`.
        settings: LiveSettings of NodeSettings; read once for each cloud.
        read_message: (payload, "cloud" or "image") -> message; it may raise MessageError.

    Attributes:
        network_frame: NetworkFrame, where the network sees the
            clouds. decoder_name: who decodes images, "own" or "cv_bridge".
        wants_images: () -> whether somebody besides the network looks at images; where neither
            does, none is decoded.
    """

    def __init__(
        self,
        segmenter: AnySegmenter,
        extrinsics: Extrinsics,
        settings: LiveSettings[NodeSettings],
        read_message: Callable[[Any, str], Any],
    ) -> None:
        self._segmenter = segmenter
        self._extrinsics = extrinsics
        self._read_message = read_message
        self._decode_image, self.decoder_name = image_decoder()
        # (epoch, scale of the intensity): sticky, one dark scan must not change what the numbers
        # mean
        self._guessed_scale = (0, 0.0)
        self.network_frame = NetworkFrame(extrinsics.transforms)
        self._pool = ThreadPoolExecutor(_DECODERS, thread_name_prefix="decode")
        self._settings = settings
        self.wants_images: Callable[[], bool] = lambda: True

    @property
    def device_trouble(self) -> str:
        """Why the network runs on the CPU though another device was chosen; "" normally."""
        return getattr(self._segmenter, "trouble", "")

    def close(self) -> None:
        """End the decoding threads."""
        self._pool.shutdown()

    def __call__(self, paired: PairedCloud) -> LabelledCloud:
        """PairedCloud -> LabelledCloud.

        Raises:
            MessageError: the cloud cannot be read. TransformError: there is no transform to
                `points.frame`. Anything that the network raises twice.
        """
        settings = self._settings.current
        points = settings.points
        started_ns = time.monotonic_ns()
        looked_at = getattr(self._segmenter, "uses_images", True)
        decoding = {
            camera: self._pool.submit(self._decode, camera, image.image)
            for camera, image in (paired.images.items() if looked_at or self.wants_images() else ())
        }
        message = self._read_message(paired.cloud, "cloud")
        cloud = self._read_cloud(message, points, paired.epoch)
        rows, seen, frame_from_lidar = self._seen(cloud, paired, points)
        in_frame = seen if frame_from_lidar is None else _applied(frame_from_lidar, seen)
        reached = self._within_reach(in_frame)
        if not reached.all():
            rows[rows] = reached
            seen, in_frame = seen[reached], in_frame[reached]
        read_ns = time.monotonic_ns()
        views, reports = self._views(paired, cloud, decoding, seen, settings)
        decoded_ns = time.monotonic_ns()
        if frame_from_lidar is not None:
            views = tuple(_moved(view, invert(frame_from_lidar)) for view in views)
        frame = Frame(
            in_frame,
            np.ascontiguousarray(cloud.intensity[rows]),
            paired.stamp,
            points.frame or cloud.frame_id,
            views,
        )
        prepared_ns = time.monotonic_ns()
        frame, prediction, retried = self._segment(frame)
        segmented_ns = time.monotonic_ns()
        if retried:
            reports = _unused(reports, retried)
        prediction, reports = _by_camera(prediction, [view.name for view in frame.views], reports)
        if not looked_at:
            reports = _not_looked_at(reports)
        timings = Timings(
            wait=paired.wait_ns / 1e6,
            decode=(decoded_ns - read_ns) / 1e6,
            preprocess=(read_ns - started_ns + prepared_ns - decoded_ns) / 1e6,
            inference=(segmented_ns - prepared_ns) / 1e6,
        )
        cameras = tuple(reports.values())
        mode = mode_of(
            {r.name: CameraStatus.FUSED if r.used else r.status for r in cameras},
            settings.sync.min_cameras,
        )
        return LabelledCloud(
            message,
            cloud,
            rows,
            frame,
            prediction,
            mode,
            cameras,
            paired.epoch,
            started_ns,
            timings,
            retried,
            None if points.frame or points.leveling == "off" else self.network_frame.placement,
            None if points.frame or frame_from_lidar is None else invert(frame_from_lidar),
            int(np.count_nonzero(~reached)),
        )

    def _seen(
        self, cloud: Cloud, paired: PairedCloud, points: PointsSettings
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """(rows (N,) bool, the (M, 3) float32 points of these rows in the cloud's frame in metres,
        (4, 4) from there to what the network sees or None where that is the same).
        """
        if points.frame or points.leveling == "off":
            near = in_range(cloud.points, points.min_range, points.max_range)
            rows = cloud.usable & near
            seen = np.ascontiguousarray(cloud.points[rows])
            return rows, seen, self._extrinsics.frame_from_lidar(cloud.frame_id, paired.stamp)
        self.network_frame.take(cloud.points, cloud.frame_id, paired.stamp)
        placement = self.network_frame.placement
        if not placement.changes:
            near = in_range(cloud.points, points.min_range, points.max_range)
            rows = cloud.usable & near
            return rows, np.ascontiguousarray(cloud.points[rows]), None
        metres = cloud.points
        if placement.scale != 1.0:
            metres = metres * np.float32(placement.scale)
        network_from_cloud = self.network_frame.network_from_cloud(cloud.points, paired.stamp)
        from_sensor = metres - invert(network_from_cloud)[:3, 3].astype(np.float32)
        rows = usable_points(metres) & usable_points(from_sensor)
        rows &= in_range(from_sensor, points.min_range, points.max_range)
        return rows, np.ascontiguousarray(metres[rows]), network_from_cloud

    def _within_reach(self, points: np.ndarray) -> np.ndarray:
        within_reach = getattr(self._segmenter, "within_reach", None)
        if within_reach is None:
            return np.ones(len(points), bool)
        return within_reach(points)

    def _read_cloud(self, message: Any, points: PointsSettings, epoch: int) -> Cloud:
        """PointCloud2 -> Cloud. What the user gives as scale is no guess to keep, and a new time
        line may be another recording.
        """
        least_scale = self._guessed_scale[1] if self._guessed_scale[0] == epoch else 0.0
        cloud = read_cloud(message, points.intensity_field, points.intensity_scale, least_scale)
        if not points.intensity_scale:
            self._guessed_scale = (epoch, cloud.intensity_scale)
        return cloud

    def _decode(self, camera: str, payload: Any) -> np.ndarray:
        """RGB of an image whose size is that of its camera's calibration: others are not even
        unpacked.
        """
        size = self._extrinsics.geometry(camera).image_size
        return self._decode_image(self._read_message(payload, "image"), size)

    def _views(
        self,
        paired: PairedCloud,
        cloud: Cloud,
        decoding: Mapping[str, Future[np.ndarray]],
        points: np.ndarray,
        settings: NodeSettings,
    ) -> tuple[tuple[CameraView, ...], dict[str, CameraReport]]:
        """The CameraViews of the images that can be used, and {camera: CameraReport} of every
        camera.
        """
        views, reports = [], {}
        for camera in settings.cameras:
            chosen = paired.images.get(camera)
            if chosen is None:
                reports[camera] = CameraReport(
                    camera, paired.camera_states.get(camera, CameraStatus.NEVER_SEEN)
                )
                continue
            if camera not in decoding:
                reports[camera] = CameraReport(camera, CameraStatus.NOT_LOOKED_AT)
                continue
            try:
                view = self._view(camera, chosen, cloud.frame_id, paired.stamp, decoding[camera])
            except TransformError as error:
                reports[camera] = CameraReport(camera, CameraStatus.NO_TRANSFORM, str(error))
            except (UncalibratedError, ImageSizeError) as error:
                reports[camera] = CameraReport(camera, CameraStatus.NO_CALIBRATION, str(error))
            except (
                Exception
            ) as error:  # any failure to decode costs this camera this cloud, never the cloud (R15)
                reports[camera] = CameraReport(
                    camera, CameraStatus.DECODE_ERROR, f"{type(error).__name__}: {error}"
                )
            else:
                ratio = visible_ratio(points, view)
                status = CameraStatus.NO_POINTS if ratio == 0 else CameraStatus.FUSED
                reports[camera] = CameraReport(
                    camera, status, "", chosen.stamp, chosen.offset_ns, 0, ratio
                )
                views.append(view)
        if len(views) < settings.sync.min_cameras:
            return (), _unused(reports, "fewer than sync.min_cameras")
        return tuple(views), reports

    def _view(
        self,
        camera: str,
        chosen: PairedImage,
        frame_id: str,
        cloud_stamp: int,
        decoding: Future[np.ndarray],
    ) -> CameraView:
        image = decoding.result()
        geometry = self._extrinsics.geometry(camera)
        size = (image.shape[1], image.shape[0])
        if size != tuple(geometry.image_size):  # a CameraInfo came while it was being decoded
            raise ImageSizeError(
                f"camera {camera}: calibrated for {geometry.image_size}, its images are {size}; "
                "is this the right CameraInfo?"
            )
        transform = self._extrinsics.camera_from_lidar(camera, frame_id, cloud_stamp, chosen.stamp)
        return CameraView(
            camera, image, geometry.intrinsic, transform, geometry.distortion, chosen.stamp
        )

    def _segment(self, frame: Frame) -> tuple[Frame, Prediction, str]:
        """(Frame used, its Prediction, why images were given up or "")."""
        try:
            return frame, self._answer(frame), ""
        except Exception as error:
            if not frame.views:
                raise
            alone = dataclasses.replace(frame, views=())
            return (
                alone,
                self._answer(alone),
                f"network failed with images ({type(error).__name__}: {error})",
            )

    def _answer(self, frame: Frame) -> Prediction:
        """The network's Prediction. What is no number must not be published as one."""
        prediction = self._segmenter.segment(frame)
        wrong = int(np.count_nonzero(~np.isfinite(prediction.confidence)))
        if wrong:
            raise FloatingPointError(
                f"the network gives {wrong} of {frame.num_points} points a confidence that is no "
                "number"
            )
        return prediction


def in_range(points: np.ndarray, min_range: float, max_range: float) -> np.ndarray:
    """(N,) bool: at least `min_range` and at most `max_range` (0 = no limit) metres from the
    sensor; False for NaN.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        squared = np.einsum("ij,ij->i", points, points)
        near = squared >= min_range * min_range
        return near & (squared <= max_range * max_range) if max_range > 0 else near


def visible_ratio(points: np.ndarray, view: CameraView) -> float:
    """Share of the points that fall into the image, from at most 4096 of them unless those show
    none; NaN without points.
    """
    if not len(points):
        return float("nan")
    sample = points[:: max(1, len(points) // _VISIBLE_SAMPLE)]
    for some in (sample, points):
        visible = project_points(
            some, view.intrinsic, view.camera_from_lidar, view.image_size, view.distortion
        )[1]
        if visible.any():
            return float(visible.mean())
    return 0.0


def _unused(reports: Mapping[str, CameraReport], why: str) -> dict[str, CameraReport]:
    """`reports` after the images that were chosen are given up for the reason `why`."""
    return {
        name: CameraReport(name, CameraStatus.NO_IMAGE, why) if report.used else report
        for name, report in reports.items()
    }


def _not_looked_at(reports: Mapping[str, CameraReport]) -> dict[str, CameraReport]:
    """`reports` of a network that reads no images: those that came serve the overlay alone."""
    return {
        name: CameraReport(name, CameraStatus.NOT_LOOKED_AT, visible_ratio=report.visible_ratio)
        if report.used
        else report
        for name, report in reports.items()
    }


def _applied(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    """`points` moved; what a wrong transform sends beyond all numbers becomes infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(apply(transform, points))


def _moved(view: CameraView, lidar_from_frame: np.ndarray) -> CameraView:
    return dataclasses.replace(view, camera_from_lidar=view.camera_from_lidar @ lidar_from_frame)


def _by_camera(
    prediction: Prediction, view_names: Sequence[str], reports: Mapping[str, CameraReport]
) -> tuple[Prediction, dict[str, CameraReport]]:
    """Turn bits that count views into bits that count cameras, and count the points of each."""
    order, counted = list(reports), dict(reports)
    mask = np.zeros_like(prediction.camera_mask)
    for bit, name in enumerate(view_names):
        mine = prediction.camera_mask >> np.uint32(bit) & np.uint32(1)
        mask |= mine << np.uint32(order.index(name))
        counted[name] = dataclasses.replace(counted[name], num_points=int(mine.sum()))
    return Prediction(prediction.labels, prediction.confidence, mask), counted
