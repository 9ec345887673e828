"""The clouds of one time line, in order of stamp: those that wait, and those that have left and
are still watched for images that come late. The rules R5 and R9 of docs/synchroniser.md.
"""

from bisect import insort
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from cmdfusion_ros.pairing.camera_stream import CameraStream, StampedImage

_LATE_HORIZON = 1_000_000_000  # ns; images later than this belong to no cloud any more
_MOST_WATCHED = 256  # released clouds: where the ROS clock stands still none of them comes of age
_LEADS = 16  # accepted clouds whose distance from the clocks is remembered
_FEW_LEADS = 4  # with fewer nothing is known of how clouds come
_SMALL_LEAP = 100_000_000  # ns ahead of both clocks that are no leap, however fast clouds come
_REJECTED_IN_A_ROW = 3  # clouds behind the newest, before a standstill counts as a new time line


@dataclass(eq=False)
class WaitingCloud:
    """A cloud on its way: waiting, or released and still watched for images that come late.

    Times are int ns. The pairing fills the last four fields as images come.

    Attributes:
        stamp, payload: as `on_cloud` got them; payload is None once released.
        start: stamp of the start of the scan.
        arrival, arrival_steady: by the ROS clock and by the one that never jumps.
        age: arrival minus stamp.
        waits_for: cameras; set when it arrives, then it only shrinks, so that the result does not
            depend on ticks.
        in_time: cameras with an eligible image before the deadline.
        held_by: cameras that it waited for until the deadline.
        distance: {camera: |stamp of the image used - target|}.
    """

    stamp: int
    payload: object
    start: int
    arrival: int
    arrival_steady: int
    age: int
    waits_for: set[str] = field(default_factory=set)
    in_time: set[str] = field(default_factory=set)
    held_by: tuple[str, ...] = ()
    distance: dict[str, int] = field(default_factory=dict)


class StampPlace(Enum):
    """Where the stamp of a new cloud lies among those before it (R5)."""

    IN_ORDER = "in_order"
    DUPLICATE = "duplicate"
    OUT_OF_ORDER = "out_of_order"
    LEAPT_AHEAD = "cloud stamp leapt ahead"  # of both clocks: one wild stamp, or a new time line
    JUMPED_BACK = "cloud stamp jumped back"  # likewise
    STAYED_BEHIND = "clouds stayed behind the newest"


class CloudQueue:
    """Clouds of one time line.

    Attributes:
        pending: WaitingClouds, in order of stamp.
        recent: those released of which an image may still come late, oldest first.
        first, newest: the first accepted one and the one with the greatest stamp; None before.

    Args:
        steady: when the time line began, int ns of the clock that never jumps.
    """

    def __init__(self, steady: int):
        self.pending: list[WaitingCloud] = []
        self.recent: deque[WaitingCloud] = deque(maxlen=_MOST_WATCHED)
        self.first: WaitingCloud | None = None
        self.newest: WaitingCloud | None = None
        self._unjudged: deque[WaitingCloud] = deque(maxlen=_MOST_WATCHED)
        self._last_released: int | None = None  # stamp
        self._last_accepted_steady = steady
        self._behind = 0  # clouds in a row out of order
        self._leads: deque[tuple[int, int]] = deque(maxlen=_LEADS)  # of stamps before both clocks
        self._steps: deque[int] = deque(maxlen=_LEADS)  # between stamps

    def place_of(self, stamp: int, ros: int, steady: int, jump: int) -> StampPlace:
        """Whether a cloud may still be released in order (R5). Ask once for each cloud: those
        that stay behind for good are a new time line.

        Args:
            stamp: of the new cloud, int ns. ros, steady: when it arrived.
            jump: ns that a stamp must go back, or that none must be accepted, to be a new time
                line.
        """
        if self.newest and stamp < self.newest.stamp - jump:
            return StampPlace.JUMPED_BACK
        if stamp == self._last_released or any(cloud.stamp == stamp for cloud in self.pending):
            return StampPlace.DUPLICATE
        if self._leaps(stamp, ros, steady):
            return StampPlace.LEAPT_AHEAD
        if self._last_released is None or stamp > self._last_released:
            return StampPlace.IN_ORDER
        self._behind += 1
        if self._behind > _REJECTED_IN_A_ROW and steady - self._last_accepted_steady > jump:
            return StampPlace.STAYED_BEHIND
        return StampPlace.OUT_OF_ORDER

    def _leaps(self, stamp: int, ros: int, steady: int) -> bool:
        """Whether a stamp is ahead of where those before it were, by more than two scans and by
        both clocks: a clock that steps on, a fast bag and a lost scan are no leaps.
        """
        if len(self._leads) < _FEW_LEADS:
            return False
        usual = sorted(self._steps)[len(self._steps) // 2]
        limit = max(_SMALL_LEAP, 2 * usual)
        by_ros = stamp - ros - max(lead for lead, _ in self._leads)
        by_steady = stamp - steady - max(lead for _, lead in self._leads)
        return min(by_ros, by_steady) > limit

    def add(self, cloud: WaitingCloud) -> None:
        """Let a cloud wait."""
        self._leads.append((cloud.stamp - cloud.arrival, cloud.stamp - cloud.arrival_steady))
        if self.newest:
            self._steps.append(abs(cloud.stamp - self.newest.stamp))
        self.first = self.first or cloud
        self._behind, self._last_accepted_steady = 0, cloud.arrival_steady
        if self.newest is None or cloud.stamp > self.newest.stamp:
            self.newest = cloud
        insort(self.pending, cloud, key=lambda waiting: waiting.stamp)

    def skew_of(self, stamp: int, stream: CameraStream, now: int, steady: int, limit: int) -> int:
        """How far (ns) an image's stamp is from the time of the clouds where that is more than
        `limit` (R12), else 0. `now`, `steady`: when it came, by both clocks.
        """
        if not limit or not self.newest:
            return 0
        start = stamp - stream.offset
        if abs(self.newest.age) <= limit:  # sensors and host share a clock
            skew = start - now
            return skew if abs(skew) > limit and not stream.is_astray(stamp) else 0
        skew = start - self.newest.start - (steady - self.newest.arrival_steady)
        return skew if skew > limit else 0

    def release(self, now: int) -> WaitingCloud:
        """Let the oldest pending cloud go at `now`, ROS time."""
        cloud = self.pending.pop(0)
        self._last_released = cloud.stamp
        self._unjudged.append(cloud)
        self.recent.append(cloud)
        while self.recent and self.recent[0].arrival < now - _LATE_HORIZON:
            self.recent.popleft()
        return cloud

    def note_image(self, stream: CameraStream, image: StampedImage, max_wait: int) -> None:
        """Tell the clouds that an image of a camera would serve: the pending ones, and those that
        have left without it (R9). max_wait: int ns.
        """
        for cloud in self.pending:
            if abs(image.stamp - cloud.start - stream.offset) <= stream.tolerance:
                cloud.in_time.add(stream.name)
        for cloud in reversed(self.recent):
            ahead = image.stamp - cloud.start - stream.offset
            if ahead > stream.tolerance:
                break  # and still further ahead of older clouds
            if -ahead > stream.tolerance:
                continue
            if image.arrival < cloud.arrival + max_wait:
                cloud.in_time.add(stream.name)
            if abs(ahead) < cloud.distance.get(stream.name, stream.tolerance + 1):
                cloud.distance[stream.name] = abs(ahead)
                stream.tally.add_late(image.arrival - cloud.arrival)

    def come_of_age(self, now: int, max_wait: int) -> Iterator[WaitingCloud]:
        """The released clouds whose deadline is over at `now`, ROS time, each once."""
        while self._unjudged and now >= self._unjudged[0].arrival + max_wait:
            yield self._unjudged.popleft()
