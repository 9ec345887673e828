"""One camera as the synchroniser sees it: its last images in order of stamp, its state, and whether
clouds wait for it. Rules R2, R3, R8, R10-R13.

All times are int ns. `now` is the ROS clock.
"""

import math
from bisect import bisect_left
from collections import deque
from enum import Enum
from typing import Any, NamedTuple

from cmdfusion_ros.pairing.paired_cloud import CameraStatus
from cmdfusion_ros.pairing.report import CameraSync, CameraTally
from cmdfusion_ros.pairing.settings import CameraTiming, SyncSettings, to_ns

_MINUTE = 60_000_000_000
# in a minute: from then on the newest image says nothing about those still to come (R10)
_REORDERINGS = 3
_INTERVALS = 8  # between images; the shortest of them is how soon the next one may come
_MIN_INTERVALS = 3
_OFFLINE_PERIODS = 3


class CameraState(Enum):
    """What a camera is to the synchroniser."""

    DISABLED = "switched off"
    NEVER_SEEN = "no image yet"
    UNCALIBRATED = "no usable calibration"
    NO_TRANSFORM = "no transform from the LiDAR"
    ACTIVE = "sends images"
    OFFLINE = "stopped sending"


_STATUS_WITHOUT_IMAGE = {
    CameraState.DISABLED: CameraStatus.DISABLED,
    CameraState.NEVER_SEEN: CameraStatus.NEVER_SEEN,
    CameraState.UNCALIBRATED: CameraStatus.NO_CALIBRATION,
    CameraState.NO_TRANSFORM: CameraStatus.NO_TRANSFORM,
    CameraState.ACTIVE: CameraStatus.NO_IMAGE,
    CameraState.OFFLINE: CameraStatus.OFFLINE,
}


class StampedImage(NamedTuple):
    """An image with its stamp and the ROS time at which it arrived."""

    stamp: int
    payload: object
    arrival: int


class CameraStream:
    """The images of one camera and what they tell about it. See `configure` for the settings,
    `clear` for a new time line.
    """

    def __init__(self, name: str, timing: CameraTiming, sync: SyncSettings):
        self.name = name
        self.tally = CameraTally()
        self.calibrated = False
        self.has_transform = False
        # the settings on which it depends whether its images are in time
        self._terms: tuple[bool, bool, int, int, int] | None = None
        self.configure(timing, sync)
        self.clear()

    def configure(self, timing: CameraTiming, sync: SyncSettings) -> None:
        """Take over changed settings (CameraTiming, SyncSettings). A camera known to be late
        gets another chance where they could make it come in time.
        """
        if not timing.enabled:
            self.clear()
        self.enabled = timing.enabled
        self.dated_by_arrival = timing.stamp_source == "arrival"
        self.offset = to_ns(timing.time_offset)
        self.tolerance = to_ns(timing.tolerance or sync.tolerance)
        self._jump = to_ns(sync.time_jump_threshold)
        self._offline_after = to_ns(sync.offline_after)
        self._recover_after = sync.recover_after
        self._capacity = sync.image_queue
        terms = (
            self.enabled,
            self.dated_by_arrival,
            self.offset,
            self.tolerance,
            to_ns(sync.max_wait),
        )
        if terms != self._terms:
            self._terms = terms
            self.trust()

    def clear(self) -> None:
        """Forget all images and what they told, as if the camera had never been seen."""
        self._stamps: list[int] = []
        self._images: list[StampedImage] = []
        # images far behind the ring: the first of a new time line, or one wild stamp
        self._astray: list[StampedImage] = []
        self.ahead = False  # the ring is on a new time line that the clouds have not reached
        self.seen = False
        self.offline = False
        self.skew = 0  # of the last image, where it was rejected for that
        self.last_arrival = 0
        self._intervals: deque[int] = deque(maxlen=_INTERVALS)
        self._reorderings: deque[tuple[int, int]] = deque(maxlen=64)  # (arrival, how far behind)
        self.trust()

    def trust(self) -> None:
        """Let clouds wait for this camera until it shows that this is in vain."""
        self.worth_waiting = True
        self._hits = 0
        self._vain_since: int | None = None
        self._vain_waits = 0

    def start_time_line(self) -> None:
        """The clouds begin a new time line: keep the images only where this camera was
        there first.
        """
        images = self._astray or (self._images if self.ahead else [])
        self.clear()
        for image in images:
            self._insert(image)
        if images:
            self.seen, self.last_arrival = True, images[-1].arrival

    def add(self, stamp: int, payload: Any, now: int) -> StampedImage | None:
        """Keep an image. Returns its StampedImage, or None where it is none that a cloud could
        use now (far behind the others, or known already).
        """
        image = StampedImage(stamp, payload, now)
        if self.is_astray(stamp):
            return self._add_astray(image)
        if self._astray:
            self.tally.count("clock_skew")  # one wild stamp: the camera went on where it was
            self._astray.clear()
        return self._insert_live(image)

    def is_astray(self, stamp: int) -> bool:
        """Whether a stamp is so far behind the newest image that it belongs to another time
        line, or to none.
        """
        return bool(self._stamps) and stamp < self._stamps[-1] - self._jump

    def _add_astray(self, image: StampedImage) -> StampedImage | None:
        self._astray.append(image)
        if len(self._astray) < 2:
            return None
        images = self._astray
        self.clear()
        self.tally.count("time_jumps")
        self.ahead = True
        self._insert_live(images[0])
        return self._insert_live(images[1])

    def _insert_live(self, image: StampedImage) -> StampedImage | None:
        """Keep an image of a camera that is alive."""
        if not self._insert(image):
            # and no sign of life either: a stuck driver repeats its last image for ever
            return None
        if self.offline:
            self.offline = False
            self.trust()
            self.worth_waiting = False  # fused at once, waited for when it has proved itself
        self.seen, self.skew, self.last_arrival = True, 0, image.arrival
        return image

    def _insert(self, image: StampedImage) -> bool:
        """Put an image in its place; False where one of that stamp is there already (the newer
        payload replaces it).
        """
        place = bisect_left(self._stamps, image.stamp)
        if place < len(self._stamps) and self._stamps[place] == image.stamp:
            self._images[place] = image
            self.tally.count("duplicate")
            return False
        if place == len(self._stamps):
            if self._stamps:
                self._intervals.append(image.stamp - self._stamps[-1])
        else:
            self.tally.count("reordered")
            self._reorderings.append((image.arrival, self._stamps[-1] - image.stamp))
        self._stamps.insert(place, image.stamp)
        self._images.insert(place, image)
        if len(self._stamps) > self._capacity:
            del self._stamps[0], self._images[0]
        return True

    def reject(self, skew: int) -> None:
        """Count an image whose stamp is `skew` away from the clouds' time (R12)."""
        self.skew = skew
        self.tally.count("clock_skew")

    def drop_ahead(self, expected: int, limit: int) -> None:
        """Reject the images stamped more than `limit` after `expected`."""
        while self._stamps and self._stamps[-1] - expected > limit:
            self.reject(self._stamps.pop() - expected)
            self._images.pop()
            self.seen = bool(self._stamps)

    def nearest(self, target: int) -> StampedImage | None:
        """The StampedImage nearest to `target`, the older of two equally near ones; None without
        images.
        """
        place = bisect_left(self._stamps, target)
        around = self._images[max(0, place - 1) : place + 1]
        return min(around, key=lambda image: abs(image.stamp - target), default=None)

    def eligible(self, target: int) -> StampedImage | None:
        """The nearest image where it is within tolerance (inclusive), else None (R2)."""
        image = self.nearest(target)
        return image if image and abs(image.stamp - target) <= self.tolerance else None

    @property
    def period(self) -> int | None:
        """Shortest time between the last images, or None where too few are known. The shortest:
        a dropped image must not make it longer.
        """
        return min(self._intervals) if len(self._intervals) >= _MIN_INTERVALS else None

    def has_evicted(self, target: int) -> bool:
        """Whether images near `target` may have left the full ring already."""
        return len(self._stamps) == self._capacity and self._stamps[0] > target

    def disorder(self, now: int) -> int:
        """How far behind the newest an image may still come; 0 for a camera whose images arrive
        in order (R10).
        """
        if len(self._reorderings) < _REORDERINGS:
            return 0
        sizes = [size for arrival, size in self._reorderings if now - arrival <= _MINUTE]
        return max(sizes) if len(sizes) >= _REORDERINGS else 0

    def is_settled(self, target: int, now: int) -> bool:
        """Whether no image still to come can be nearer to `target` than those here (R3)."""
        if not self._stamps:
            return False
        disorder = self.disorder(now)
        newest = self._stamps[-1]
        if newest >= target + disorder:
            return True
        period = None if disorder else self.period
        return period is not None and newest + period - target > min(
            target - newest, self.tolerance
        )

    def refresh(self, now: int, target: int) -> None:
        """Notice that the camera went silent (R13). `target` is its target time for the newest
        cloud.

        Both must have moved on without it, the clock and the clouds: a bag that pauses stops both
        or only the clouds.
        """
        if not self.seen or self.offline or now - self.last_arrival <= self._offline_after:
            return
        silence = max(self._offline_after, _OFFLINE_PERIODS * (self.period or 0))
        behind = not self._stamps or target - self._stamps[-1] > silence
        if now - self.last_arrival > silence and behind:
            self.offline, self.worth_waiting = True, False

    def judge(self, in_time: bool, held_up: bool, arrival: int, deadline: int) -> None:
        """Learn from one cloud whose time is over: did an eligible image come before its deadline,
        and did the cloud wait for this camera until then?

        Clouds stop waiting after offline_after of waits in vain and begin again after recover_after
        hits in a row (R13).
        """
        if in_time:
            self._hits += 1
            self._vain_since, self._vain_waits = None, 0
            if self._hits >= self._recover_after and not self.offline:
                self.worth_waiting = True
            return
        self._hits = 0
        if held_up:
            since = arrival if self._vain_since is None else self._vain_since
            self._vain_since = since
            self._vain_waits += 1
            if self._vain_waits >= self._recover_after and deadline - since > self._offline_after:
                self.worth_waiting = False

    def note_offset(self, start: int) -> None:
        """Note how far from the start of a scan its nearest image lay, where that is certain: a
        still nearer one would be here or is not due yet.
        """
        image = self.nearest(start + self.offset)
        if image is None or self.period is None:
            return
        if (
            self._stamps[-1] >= start + self.offset
            or abs(image.stamp - start - self.offset) <= self.period / 2
        ):
            self.tally.raw_offset.add(image.stamp - start)

    @property
    def ready(self) -> bool:
        """Whether its images can be used at all."""
        return self.enabled and self.calibrated and self.has_transform

    @property
    def state(self) -> CameraState:
        """CameraState."""
        if not self.enabled:
            return CameraState.DISABLED
        if not self.seen:
            return CameraState.NEVER_SEEN
        if not self.calibrated:
            return CameraState.UNCALIBRATED
        if not self.has_transform:
            return CameraState.NO_TRANSFORM
        return CameraState.OFFLINE if self.offline else CameraState.ACTIVE

    @property
    def status_without_image(self) -> CameraStatus:
        """CameraStatus of a cloud for which this camera has no eligible image."""
        if self.skew and self.enabled:
            return CameraStatus.CLOCK_SKEW
        return _STATUS_WITHOUT_IMAGE[self.state]


def camera_sync(stream: CameraStream, now: int) -> CameraSync:
    """CameraSync of a CameraStream at ROS time `now`."""
    tally = stream.tally
    distances = sorted(abs(d) for d in tally.distance.values)
    p95 = distances[math.ceil(0.95 * len(distances)) - 1] / 1e6 if distances else math.nan
    return CameraSync(
        state=stream.state.name,
        reason=_reason(stream, now),
        waited_for=stream.state.name == "ACTIVE" and stream.worth_waiting,
        counts=dict(tally.counts),
        lateness=tuple(tally.lateness),
        matched_ratio=tally.matched.mean,
        offset_mean_ms=tally.distance.mean / 1e6,
        offset_p95_ms=p95,
        suggested_time_offset_ms=tally.suggested_time_offset(stream.period) / 1e6,
        suggested_max_wait_ms=tally.suggested_max_wait / 1e6,
        period_ms=stream.period / 1e6 if stream.period else math.nan,
        last_age_ms=(now - stream.last_arrival) / 1e6 if stream.seen else math.nan,
    )


def _reason(stream: CameraStream, now: int) -> str:
    """Why a camera does not serve, in one sentence; "" where it does."""
    if stream.skew:
        return (
            f"its stamps are {stream.skew / 1e9:+.3f} s from the clouds' time; synchronise its "
            "clock"
        )
    if stream.tally.counts["unstamped"] and not stream.seen:
        return "its images have no stamp; set stamp_source to arrival"
    if stream.offline:
        return f"no image for {(now - stream.last_arrival) / 1e9:.1f} s"
    if not stream.ready or not stream.seen:
        return stream.state.value
    return (
        ""
        if stream.worth_waiting
        else "its images come too late or not at all; see suggested_max_wait_ms"
    )
