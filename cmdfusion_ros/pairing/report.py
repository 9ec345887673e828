"""What the synchroniser counts, and what that tells a person: the numbers behind the
diagnostics. Nothing is dropped without a name in here.
"""

import math
from collections import Counter, deque
from dataclasses import dataclass

from cmdfusion_ros.pairing.paired_cloud import Mode, PairedCloud, ReleaseReason

_RECENT = 256  # samples kept of each quantity: 25 s at 10 Hz
_ENOUGH = 20  # samples before anything is suggested
LATENESS_BINS_MS = (5, 10, 20, 40, 80, 160, 320, 640)  # upper edges; one more bin holds the rest


class RecentValues:
    """The last 256 values of a quantity."""

    def __init__(self) -> None:
        self.values: deque[float] = deque(maxlen=_RECENT)

    def add(self, value: float) -> None:
        self.values.append(value)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float:
        """NaN where there are none."""
        return math.fsum(self.values) / len(self.values) if self.values else math.nan

    def quantile(self, share: float) -> float:
        """The smallest value that `share` of the values do not exceed; NaN where there are none."""
        ordered = sorted(self.values)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


class CloudTally:
    """What happened to the clouds. Kept over resets."""

    def __init__(self) -> None:
        # received, released, unstamped, time_jumps, and the reasons for dropping: out_of_order,
        # duplicate, reset, wild_stamp
        self.counts: Counter[str] = Counter()
        self._modes: Counter[Mode] = Counter()
        self._reasons: Counter[ReleaseReason] = Counter()
        self._waits = RecentValues()

    def add_release(self, paired: PairedCloud) -> None:
        """A PairedCloud that goes out."""
        self.counts["released"] += 1
        self._modes[paired.mode] += 1
        self._reasons[paired.reason] += 1
        self._waits.add(paired.wait_ns)

    def _dropped(self) -> dict[str, int]:
        names = ("out_of_order", "duplicate", "reset")
        wild = {"wild_stamp": n} if (n := self.counts["wild_stamp"]) else {}
        return {**{name: self.counts[name] for name in names}, **wild}

    def report(
        self,
        epoch: int,
        num_pending: int,
        age_ns: float,
        warnings: tuple[str, ...],
        cameras: "dict[str, CameraSync]",
    ) -> "SyncReport":
        """SyncReport; `age_ns` of the newest cloud, `cameras` {name: CameraSync}."""
        waits = [
            camera.suggested_max_wait_ms for camera in cameras.values() if camera.state == "ACTIVE"
        ]
        return SyncReport(
            epoch=epoch,
            time_jumps=self.counts["time_jumps"],
            received=self.counts["received"],
            released=self.counts["released"],
            pending=num_pending,
            dropped=self._dropped(),
            unstamped=self.counts["unstamped"],
            modes={mode.name: self._modes[mode] for mode in Mode},
            reasons={reason.value: self._reasons[reason] for reason in ReleaseReason},
            mean_wait_ms=self._waits.mean / 1e6,
            p95_wait_ms=self._waits.quantile(0.95) / 1e6,
            suggested_max_wait_ms=max((wait for wait in waits if wait == wait), default=math.nan),
            cloud_age_ms=age_ns / 1e6,
            warnings=warnings,
            cameras=cameras,
        )


class CameraTally:
    """What happened to the images of one camera, and how they lay to the clouds. Kept over
    resets.
    """

    def __init__(self) -> None:
        # received, disabled, unstamped, clock_skew, duplicate, reordered, late, reset,
        # evicted_too_early, time_jumps, matched
        self.counts: Counter[str] = Counter()
        self.lateness = [0] * (len(LATENESS_BINS_MS) + 1)
        self.needed_wait = RecentValues()  # ns, from arrival of a cloud to arrival of its image
        self.distance = RecentValues()  # ns, image used minus target, signed
        self.raw_offset = RecentValues()  # ns, nearest image minus start of the scan, used or not
        self.matched = (
            RecentValues()
        )  # 1 or 0, for each cloud released while the camera was enabled

    def count(self, event: str) -> None:
        self.counts[event] += 1

    def add_match(self, distance_ns: int, lateness_ns: int) -> None:
        """An image that went with a cloud, that many ns from its target; it came `lateness_ns`
        after the cloud, or before it (negative).
        """
        self.count("matched")
        self.matched.add(1)
        self.distance.add(distance_ns)
        self.needed_wait.add(max(0, lateness_ns))

    def add_miss(self, evicted: bool) -> None:
        """A cloud went without an image of this camera; `evicted` where one may have left the
        ring too early.
        """
        self.matched.add(0)
        if evicted:
            self.count("evicted_too_early")

    def add_late(self, lateness_ns: int) -> None:
        """An image that came `lateness_ns` after a cloud that had left without it."""
        self.count("late")
        self.needed_wait.add(lateness_ns)
        self.lateness[sum(lateness_ns / 1e6 > edge for edge in LATENESS_BINS_MS)] += 1

    def suggested_time_offset(self, period: int | None) -> float:
        """Median offset (ns) where the camera keeps step with the LiDAR, NaN where it runs
        freely or too little is known.
        """
        spread = self.raw_offset.quantile(0.95) - self.raw_offset.quantile(0.05)
        if len(self.raw_offset) < _ENOUGH or period is None or not spread < period / 4:
            return math.nan
        return self.raw_offset.quantile(0.5)

    @property
    def suggested_max_wait(self) -> float:
        """The wait (ns) that 95 % of the images would have come in; NaN where too little is
        known.
        """
        return self.needed_wait.quantile(0.95) if len(self.needed_wait) >= _ENOUGH else math.nan


@dataclass(frozen=True)
class CameraSync:
    """The state of one camera, as of the moment of the report. NaN where nothing is known.

    Attributes:
        state: name of its CameraState. reason: a sentence for a person; "" where all is well.
        waited_for: whether clouds wait for it.
        counts: {event: number since the start}: received, matched, late, reordered, time_jumps, and
            the images not kept: disabled, unstamped, clock_skew, duplicate (the newer one replaced
            the older), reset (left over from before a time jump). evicted_too_early counts clouds
            whose images had left the ring.
        lateness: number of late images in the bins of LATENESS_BINS_MS.
        matched_ratio: of the last 256 clouds.
        offset_mean_ms, offset_p95_ms: image used minus target: signed mean, 95th percentile of the
            size.
        suggested_time_offset_ms: for the parameter time_offset. suggested_max_wait_ms: the wait
            that 95 % of its images come in.
        period_ms: shortest time between its last images. last_age_ms: ROS time since its last
            image.
    """

    state: str
    reason: str
    waited_for: bool
    counts: dict[str, int]
    lateness: tuple[int, ...]
    matched_ratio: float
    offset_mean_ms: float
    offset_p95_ms: float
    suggested_time_offset_ms: float
    suggested_max_wait_ms: float
    period_ms: float
    last_age_ms: float


@dataclass(frozen=True)
class SyncReport:
    """All that the synchroniser knows about itself. received = released + pending + the sum of
    `dropped`.

    Attributes:
        epoch: number of resets. time_jumps: those of them that a time jump caused. received,
            released, pending: clouds.
        dropped: {"out_of_order", "duplicate", "reset", clouds}, and "wild_stamp" once there is one.
        unstamped: clouds without a stamp, which got the time of arrival.
        modes: {"FUSED", "PARTIAL", "LIDAR_ONLY": released clouds}. reasons: {"settled", "deadline",
            "backlog", "clock_stalled": released clouds}.
        mean_wait_ms, p95_wait_ms: of the last 256 clouds.
        suggested_max_wait_ms: the wait that 95 % of the images of every camera that sends come in,
            for sync.max_wait; NaN where too little is known.
        cloud_age_ms: ROS time of arrival minus stamp of the newest cloud.
        warnings: sentences for a person.
        cameras: {camera: CameraSync}, in the order of the settings.
    """

    epoch: int
    time_jumps: int
    received: int
    released: int
    pending: int
    dropped: dict[str, int]
    unstamped: int
    modes: dict[str, int]
    reasons: dict[str, int]
    mean_wait_ms: float
    p95_wait_ms: float
    suggested_max_wait_ms: float
    cloud_age_ms: float
    warnings: tuple[str, ...]
    cameras: dict[str, CameraSync]

    @property
    def deadline_hits(self) -> int:
        """Clouds held to their deadline."""
        return self.reasons["deadline"] + self.reasons["clock_stalled"]
