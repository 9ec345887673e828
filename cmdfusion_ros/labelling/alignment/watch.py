"""Whether the cameras of a running node sit as their transforms say, judged once and beside its
work.

Eight clouds with their images are kept of a robot that drives, of the clouds the edges alone and of
the images the grey in 960 pixels of width: about 5 MB a camera, of eight cameras at a time. They
are judged by `check_alignment` on a thread of their own, two CPU seconds a camera. Then nothing is
done until a camera is placed or calibrated anew. The thread's priority is the node's: one of less
would be held up by other programs while it holds Python's lock, and the labels with it.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import cv2
import numpy as np

from cmdfusion_ros.config import LiveSettings
from cmdfusion_ros.frame import CameraView, Distortion, Frame
from cmdfusion_ros.geometry.transforms import apply, invert
from cmdfusion_ros.labelling.alignment.check import UNSURE, Alignment, check_alignment, shows_new
from cmdfusion_ros.labelling.alignment.edges import CloudEdges, edge_points
from cmdfusion_ros.labelling.alignment.score import WIDEST, Look, speeds
from cmdfusion_ros.labelling.extrinsics import Extrinsics
from cmdfusion_ros.labelling.settings import NodeSettings
from cmdfusion_ros.messages.transforms import FIXED_FRAMES, TransformError

RIGHT, WRONG, UNJUDGED = "right", "wrong: {}", "not judged: {}"  # what is told of a camera
THREAD = "cmdfusion-alignment"  # name of its threads
LOOKS = 8  # scans of a judgement
MOST_AT_ONCE = 8  # that are looked at at the same time
_SPACING, _LONGEST = 0.25, 10.0  # seconds from one look to the next
_TRIES = 3  # judgements until one is sure; each time the looks are four times as far apart
# What is told at once lacks half of the score and is better by five deviations: by less, one place
# in eight calls a right camera wrong. Two judgements from two places must agree then.
_SURE, _LACKS = 5.0, 0.5
_ALIKE_DEG, _ALIKE_M, _ALIKE_S = 1.0, 0.15, 0.05
_DRIVEN, _TURNED_DEG = 0.4, 3.0  # metres or degrees from one look to the next
_CHANGES = 5.0  # seconds between looks for a camera that was placed anew
_AGAIN = 60.0  # seconds from a judgement until the next for such a reason
_TURNED, _SHIFTED = 1e-3, 2e-3  # numbers of a rotation, metres: less is no other place
_PATIENCE, _POLL = 0.5, 0.05  # seconds for transforms to come, and between looks for them
_AROUND_NS = 50_000_000  # to both sides, over which the speed is taken

Tell = Callable[[str, str, bool], None]  # (camera, what is known of it, whether it is wrong)


class _Place(NamedTuple):
    """A lens and its place, as transforms and calibration say."""

    intrinsic: np.ndarray
    image_size: tuple[int, int]
    camera_from_lidar: np.ndarray

    def is_about(self, other: "_Place") -> bool:
        apart = np.abs(self.camera_from_lidar - other.camera_from_lidar)
        return (
            self.image_size == other.image_size
            and np.allclose(self.intrinsic, other.intrinsic)
            and apart[:3, :3].max() < _TURNED
            and apart[:3, 3].max() < _SHIFTED
        )


@dataclass(frozen=True)
class _Seen:
    """A frame for the thread: the views of it to be judged and where its points are."""

    frame: Frame
    views: Sequence[CameraView]
    cloud_from_network: np.ndarray | None
    sensor_frame: str


@dataclass(eq=False)
class _Camera:
    """What was seen of one camera since it was placed.

    Attributes:
        looks: with the grey of the image, (H, W), as their image.
        pose: (4, 4) at the last look, in a frame that stands still.
        lens: of these images. doubt: a judgement that was not sure.
    """

    place: _Place | None = None
    looks: list[Look] = field(default_factory=list)
    lens: tuple[np.ndarray, Distortion | None] | None = None
    next_at: float = 0.0
    spacing: float = _SPACING
    pose: np.ndarray | None = None
    tries: int = 0
    doubt: Alignment | None = None
    is_done: bool = False
    done_at: float = -_AGAIN


class _Motion(NamedTuple):
    """How the axes of the points move.

    Attributes:
        pose: (4, 4) at the image's stamp, in a frame that stands still.
        moved: (4, 4) to the axes then from those at the cloud's stamp.
        velocity, turning: m/s and rad/s about then, in the axes.
    """

    pose: np.ndarray
    moved: np.ndarray
    velocity: np.ndarray
    turning: np.ndarray


class AlignmentWatch:
    """Takes labelled frames and tells what it finds of their cameras.

    Args:
        extrinsics: Extrinsics of the node. settings: LiveSettings of NodeSettings.
        now: seconds of a steady clock.

    Attributes:
        tell: called with (camera, words, whether it is wrong), on a thread of its own.
    """

    def __init__(
        self,
        extrinsics: Extrinsics,
        settings: LiveSettings[NodeSettings],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._extrinsics, self._settings, self._now = extrinsics, settings, now
        self.tell: Tell = lambda camera, words, is_wrong: None
        self._cameras = {camera: _Camera() for camera in settings.current.cameras}
        self._thread: threading.Thread | None = None
        self._looked_for_changes, self._was_on, self._closed = now(), True, False

    @property
    def due(self) -> bool:
        """Whether the next labelled frame is of use with its images."""
        if self._closed or self._busy or not self._settings.current.diagnostics.check_alignment:
            return False
        return bool(self._due())

    @property
    def _busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _due(self) -> list[str]:
        now, cameras = self._now(), self._cameras.items()
        return [name for name, each in cameras if not each.is_done and each.next_at <= now]

    def take(
        self, frame: Frame, cloud_from_network: np.ndarray | None = None, sensor_frame: str = ""
    ) -> None:
        """Look at a Frame as the network saw it. Returns at once.

        Args:
            cloud_from_network: as of LabelledCloud. sensor_frame: of the cloud as it came.
        """
        if self._closed or self._busy:
            return
        if not self._settings.current.diagnostics.check_alignment:
            if self._was_on:
                for name in self._cameras:
                    self._cameras[name] = _Camera()
                    self.tell(name, UNJUDGED.format("diagnostics.check_alignment is off"), False)
            self._was_on = False
            return
        self._was_on = True
        self._look_for_changes(frame.frame_id)
        due, views = self._due(), []
        held = {name for name, camera in self._cameras.items() if camera.looks}
        for view in frame.views:
            if view.name in due and (view.name in held or len(held) < MOST_AT_ONCE):
                held.add(view.name)
                views.append(view)
        for name in due:
            if name not in {view.name for view in frame.views}:
                self._wait(name, "no image of it was used lately")
        if views:
            seen = _Seen(frame, views, cloud_from_network, sensor_frame)
            self._thread = threading.Thread(
                target=self._run, args=(seen,), name=THREAD, daemon=True
            )
            self._thread.start()

    def close(self, timeout_s: float = 3.0) -> None:
        """Take no more and tell no more; wait a little for the camera that is being judged."""
        self._closed, self.tell = True, lambda camera, words, is_wrong: None
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _look_for_changes(self, frame_id: str) -> None:
        """Begin anew with cameras that are placed or calibrated otherwise than they were."""
        now = self._now()
        if now - self._looked_for_changes < _CHANGES:
            return
        self._looked_for_changes = now
        for name, camera in self._cameras.items():
            found = self._extrinsics.last_place(name, frame_id)
            if found is None or now - camera.done_at < _AGAIN:
                continue
            place = _Place(found[0].intrinsic, found[0].image_size, found[1])
            if camera.place is not None and not place.is_about(camera.place):
                self._cameras[name] = _Camera(place)
                self.tell(name, UNJUDGED.format("it was placed or calibrated anew"), False)
            else:
                camera.place = place

    # ---- on the thread

    def _run(self, seen: _Seen) -> None:
        try:
            self._look(seen)
        except Exception as error:  # a check that fails must cost nothing but itself
            for view in seen.views:
                self._cameras[view.name].is_done = True
                why = f"the check failed ({type(error).__name__}: {error})"
                self.tell(view.name, UNJUDGED.format(why), False)

    def _look(self, seen: _Seen) -> None:
        frame, views, cloud_from_network = seen.frame, seen.views, seen.cloud_from_network
        points, origin = frame.points, self._origin(frame.frame_id, seen.sensor_frame)
        if cloud_from_network is not None:
            points, origin = apply(cloud_from_network, points), cloud_from_network[:3, 3]
            views = [
                replace(view, camera_from_lidar=view.camera_from_lidar @ invert(cloud_from_network))
                for view in views
            ]
        self._add_looks(frame, views, points, origin)
        for view in views:
            if len(self._cameras[view.name].looks) == LOOKS and not self._closed:
                self._judge(view.name)

    def _add_looks(
        self, frame: Frame, views: Sequence[CameraView], points: np.ndarray, origin: np.ndarray
    ) -> None:
        """Keep what is new: `points` and `views` in one frame, where the LiDAR is at `origin`."""
        thinned: tuple[np.ndarray, CloudEdges] | None = None
        for view in views:
            camera, grey = self._cameras[view.name], _grey(view.image)
            if camera.looks and camera.looks[0].image.shape != grey.shape:
                camera.looks = []
            try:
                motion = self._awaited_motion(frame, view)
            except TransformError as error:
                self._wait(view.name, f"where it was at its image's stamp is not known: {error}")
                continue
            if motion is None:
                self._wait(view.name, "no transform to odom or map says how the robot moves")
                continue
            if camera.looks and not _has_moved(camera, motion.pose):
                least = _DRIVEN * 4**camera.tries
                self._wait(view.name, f"the robot stands: less than {least:g} m from the last look")
                continue
            if camera.looks and not shows_new(grey, camera.looks[-1].image):
                self._wait(view.name, "its images show nothing new")
                continue
            if thinned is None:
                thinned = edge_points(points, frame.intensity, origin)
            scale = np.diag([grey.shape[1] / view.image_size[0], grey.shape[0] / view.image_size[1],
                             1.0])  # fmt: skip
            camera.lens = scale @ view.intrinsic, view.distortion
            camera.looks.append(
                Look(
                    thinned[0], np.zeros(len(thinned[0]), np.float32), grey,
                    view.camera_from_lidar @ motion.moved, motion.velocity, motion.turning, origin,
                    thinned[1],
                )
            )  # fmt: skip
            camera.pose, camera.spacing = motion.pose, _SPACING * 4**camera.tries
            camera.next_at = self._now() + camera.spacing

    def _wait(self, name: str, why: str) -> None:
        """Look less often at what gives nothing."""
        camera = self._cameras[name]
        camera.spacing = min(2 * camera.spacing, max(_LONGEST, _SPACING * 4**camera.tries))
        camera.next_at = self._now() + camera.spacing
        self.tell(name, UNJUDGED.format(why), False)

    def _origin(self, frame_id: str, sensor_frame: str) -> np.ndarray:
        """(3,) where the LiDAR is in the axes of points in `frame_id`, as far as that is known."""
        if sensor_frame in ("", frame_id):
            return np.zeros(3)
        try:
            return self._extrinsics.transforms.lookup(frame_id, sensor_frame)[:3, 3]
        except TransformError:
            return np.zeros(3)

    def _awaited_motion(self, frame: Frame, view: CameraView) -> _Motion | None:
        """As `_motion`; transforms come a little later than images, and nobody waits here."""
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                return self._motion(frame, view)
            except TransformError:
                if time.monotonic() > end or self._closed:
                    raise
                time.sleep(_POLL)

    def _motion(self, frame: Frame, view: CameraView) -> _Motion | None:
        """_Motion of the frame of the points; None where no frame is known that stands still.

        Raises:
            TransformError: where it was then is not known.
        """
        buffer, known = self._extrinsics.transforms, self._settings.current.sync.fixed_frame
        frames = buffer.frames()
        fixed = known or next((name for name in FIXED_FRAMES if name in frames), "")
        if not fixed:
            return None

        def step(target: int, source: int) -> np.ndarray:
            return buffer.lookup_full(frame.frame_id, target, frame.frame_id, source, fixed)

        pose = buffer.lookup(fixed, frame.frame_id, view.stamp)
        moved = step(view.stamp, frame.stamp)
        try:
            drive = step(view.stamp - _AROUND_NS, view.stamp + _AROUND_NS)
        except TransformError:  # the newest transform is older
            drive = step(view.stamp - 2 * _AROUND_NS, view.stamp)
        # with sync.fixed_frame the view's own transform says it already
        moved = np.eye(4) if known else moved
        return _Motion(pose, moved, *speeds(drive, 2 * _AROUND_NS / 1e9))

    def _judge(self, name: str) -> None:
        camera = self._cameras[name]
        assert camera.lens is not None  # comes with a look
        looks = [
            replace(look, image=cv2.cvtColor(look.image, cv2.COLOR_GRAY2RGB))
            for look in camera.looks
        ]
        found = check_alignment(looks, *camera.lens)
        camera.looks, camera.tries = [], camera.tries + 1
        camera.next_at = self._now() + _SPACING * 4**camera.tries
        if self._is_sure(found, camera.doubt):
            self._settle(camera)
            words = WRONG.format(found.words) if found.is_wrong else RIGHT
            self.tell(name, words, found.is_wrong)
            return
        camera.doubt = found if found.is_wrong else camera.doubt
        if camera.tries == _TRIES:
            self._settle(camera)
        why = found.why or f"it may be wrong, and that is not sure ({found.words})"
        self.tell(name, UNJUDGED.format(why), False)

    def _settle(self, camera: _Camera) -> None:
        camera.is_done, camera.done_at = True, self._now()

    @staticmethod
    def _is_sure(found: Alignment, doubt: Alignment | None) -> bool:
        if not found.is_wrong:
            return found.verdict != UNSURE
        if found.deviations >= _SURE and found.best - found.score >= _LACKS * found.best:
            return True
        return doubt is not None and doubt.verdict == found.verdict and _are_alike(found, doubt)


def _are_alike(one: Alignment, other: Alignment) -> bool:
    """Whether two judgements of one verdict would change a camera by about the same."""
    first, second = one.correction, other.correction
    turned = np.linalg.norm(np.subtract(first.turn, second.turn))
    shifted = np.linalg.norm(np.subtract(first.shift, second.shift))
    return bool(
        first.axes == second.axes
        and turned < _ALIKE_DEG
        and shifted < _ALIKE_M
        and abs(first.late - second.late) < _ALIKE_S
    )


def _has_moved(camera: _Camera, pose: np.ndarray) -> bool:
    """Whether the robot is elsewhere than at the last look: traffic about one that stands shows
    something new all the time, and the same edges.
    """
    if camera.pose is None:
        return True
    step = invert(camera.pose) @ pose
    turned = np.degrees(np.linalg.norm(cv2.Rodrigues(step[:3, :3])[0]))
    driven = np.linalg.norm(step[:3, 3])
    return bool(driven > _DRIVEN * 4**camera.tries or turned > _TURNED_DEG)


def _grey(image: np.ndarray) -> np.ndarray:
    """(h, w) uint8 of an RGB image, no wider than what is scored."""
    height, width = image.shape[:2]
    share = min(1.0, WIDEST / width)
    size = round(width * share), round(height * share)
    return cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
