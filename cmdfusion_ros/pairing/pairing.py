"""Which images go with which cloud. The rules R1-R18 are in docs/synchroniser.md.

Every accepted cloud is released exactly once, in order of stamp, no later than max_wait after it
arrived (R18 apart). Cameras can change its labels, never suppress it or delay it further.

Plain Python without threads, locks or timers: whoever owns a pairing calls it from one thread at a
time. All times are int ns.
"""

import math
from collections.abc import Callable
from typing import Any

from cmdfusion_ros.config import SettingsError, nearest_name
from cmdfusion_ros.pairing.camera_stream import CameraState, CameraStream, camera_sync
from cmdfusion_ros.pairing.clock_watch import Clock, ClockWatch
from cmdfusion_ros.pairing.cloud_queue import CloudQueue, StampPlace, WaitingCloud
from cmdfusion_ros.pairing.paired_cloud import (
    CameraStatus,
    Mode,
    PairedCloud,
    PairedImage,
    ReleaseReason,
    mode_of,
)
from cmdfusion_ros.pairing.report import CloudTally, SyncReport
from cmdfusion_ros.pairing.settings import LivePairing, PairingSettings, to_ns

_SECOND = 1_000_000_000
_DURATIONS = ("max_wait", "startup_grace", "time_jump_threshold", "clock_skew_limit")
_LEAPS = (StampPlace.LEAPT_AHEAD, StampPlace.JUMPED_BACK)
_STARTING = (CameraState.NEVER_SEEN, CameraState.UNCALIBRATED, CameraState.NO_TRANSFORM)


class CloudAnchoredPairing:
    """Pairs clouds with images.

    Tell it of clouds and images as they arrive, call `on_tick` while clouds wait, and say with
    `set_camera_ready` which cameras can be projected.

    Args:
        settings: LiveSettings of PairingSettings. A change is taken over with the next call, for
            pending clouds too; the cameras stay.
        clock: has `now_ros()` and `now_steady()`, int ns. now_ros is 0 while there is no ROS time
            yet.
        release: called with each PairedCloud. It may raise: the cloud counts as released and the
            error goes to whoever called the pairing.
        on_reset: called with (epoch, reason) when a new time line begins: drop what was learned
            from stamps (transforms, markers, results). It must not raise.
    """

    def __init__(
        self,
        settings: LivePairing,
        clock: Clock,
        release: Callable[[PairedCloud], None],
        on_reset: Callable[[int, str], None] | None = None,
    ):
        self.settings = settings
        self._take(settings.current)
        self._clock = ClockWatch(clock)
        self._release_to = release
        self._on_reset = on_reset
        self._streams = {
            name: CameraStream(name, timing, self._in_force.sync)
            for name, timing in self._in_force.cameras.items()
        }
        self._tally = CloudTally()
        # it leapt; the next one tells what it was
        self._aside: WaitingCloud | None = None
        self.epoch = 0
        self._clouds = CloudQueue(self._clock.steady)

    def _take(self, settings: PairingSettings) -> None:
        self._in_force = settings
        self._durations = {name: to_ns(getattr(settings.sync, name)) for name in _DURATIONS}
        self._shift = settings.target_shift_ns

    def on_cloud(self, stamp: int, cloud: Any) -> None:
        """Take a cloud. stamp: int ns from its header, 0 for none (it then gets the time of
        arrival).
        """
        now, steady = self._advance()
        self._tally.counts["received"] += 1
        if stamp <= 0:
            self._tally.counts["unstamped"] += 1
            stamp = now or steady
        if self._clock.is_left_over(stamp, self._ns("time_jump_threshold")):
            self._tally.counts["reset"] += 1
            return
        self._take_cloud(
            WaitingCloud(stamp, cloud, stamp + self._shift, now, steady, age=now - stamp)
        )
        self._pump()

    def _take_cloud(self, cloud: WaitingCloud) -> None:
        """Let a cloud wait, or drop it by name, or set it aside where it leaps (R18)."""
        jump = self._ns("time_jump_threshold")
        place = self._clouds.place_of(cloud.stamp, cloud.arrival, cloud.arrival_steady, jump)
        aside, self._aside = self._aside, None
        if aside:
            if place in _LEAPS and abs(cloud.stamp - aside.stamp) <= jump:
                self._begin_with(aside)
                self._take_cloud(cloud)
                return
            self._tally.counts["wild_stamp"] += 1  # the others went on where they were
        if place in (StampPlace.DUPLICATE, StampPlace.OUT_OF_ORDER):
            self._tally.counts[place.value] += 1
            return
        newest = self._clouds.newest
        if place in _LEAPS and newest and abs(cloud.age - newest.age) > jump // 4:
            self._aside = cloud
            return
        if place in (StampPlace.JUMPED_BACK, StampPlace.STAYED_BEHIND):
            self._jump(place.value)
        self._accept(cloud)

    def _begin_with(self, cloud: WaitingCloud) -> None:
        """Accept a cloud that was set aside: time goes on from it."""
        if self._clouds.newest and cloud.stamp < self._clouds.newest.stamp:
            self._jump(StampPlace.JUMPED_BACK.value)
        self._accept(cloud)

    def on_image(self, camera: str, stamp: int, image: Any) -> None:
        """Take an image of a camera of the settings. stamp: int ns from its header, 0 for none."""
        stream = self._stream(camera)
        now, steady = self._advance()
        stream.tally.count("received")
        if not stream.enabled:
            stream.tally.count("disabled")
            return
        if stream.dated_by_arrival:
            stamp = now
        if stamp <= 0:
            stream.tally.count("unstamped")
        elif self._clock.is_left_over(stamp, self._ns("time_jump_threshold")):
            stream.tally.count("reset")
        elif skew := self._clouds.skew_of(stamp, stream, now, steady, self._ns("clock_skew_limit")):
            stream.reject(skew)
        elif kept := stream.add(stamp, image, now):
            if stream.ready:
                self._clouds.note_image(stream, kept, self._ns("max_wait"))
            self._pump()

    def on_tick(self) -> None:
        """Release what is due. Call it every few milliseconds while `num_pending` is not 0;
        results do not depend on when.
        """
        self._advance()

    def on_clock_jump(self) -> None:
        """The ROS clock was set back, however little. A step of more than time_jump_threshold is
        noticed without; a step forward needs no care.
        """
        self._advance(any_step_back=True)

    def reset(self, reason: str) -> None:
        """Begin anew: pending clouds are dropped (counted reset), images and what they told are
        forgotten, the epoch goes up. Counters stay.
        """
        self._tally.counts["reset"] += self.num_pending
        self._aside = None
        self.epoch += 1
        for stream in self._streams.values():
            stream.start_time_line()
        self._clouds = CloudQueue(self._clock.steady)
        if self._on_reset:
            self._on_reset(self.epoch, reason)

    def set_camera_ready(self, camera: str, calibrated: bool, has_transform: bool) -> None:
        """Say whether images of a camera can be projected. Until then they are kept but not
        paired.
        """
        stream = self._stream(camera)
        self._advance()
        stream.calibrated, stream.has_transform = calibrated, has_transform
        self._pump()

    def _take_over(self, settings: PairingSettings) -> None:
        """Go on with other settings, after what was due by those before."""
        if list(settings.cameras) != list(self._streams):
            raise SettingsError(
                f"cameras: expected {list(self._streams)} as before, got "
                f"{list(settings.cameras)}; cameras cannot change at run time"
            )
        moved = settings.target_shift_ns != self._shift
        self._take(settings)
        for name, timing in settings.cameras.items():
            self._streams[name].configure(timing, settings.sync)
            if moved:
                self._streams[name].trust()
        self._pump()

    @property
    def num_pending(self) -> int:
        """Clouds that wait for images, or for the next cloud to tell what they are."""
        return len(self._clouds.pending) + (self._aside is not None)

    def _advance(self, any_step_back: bool = False) -> tuple[int, int]:
        """Read the clocks and do what became due since the last call, before anything new is
        looked at. Returns (ROS time, steady time).
        """
        before = self._clock.read()
        if before is not None:
            self._step_back(before, any_step_back)
        self._pump()
        if self.settings.current is not self._in_force:
            self._take_over(self.settings.current)
        return self._clock.ros, self._clock.steady

    def _step_back(self, before: int, is_jump: bool) -> None:
        """The ROS clock went back. Where clouds of the new time line came first, the reset has
        been made already.
        """
        now = self._clock.ros
        if is_jump or now < before - self._ns("time_jump_threshold"):
            self._clock.note_jump(before)
            newest = self._clouds.newest.stamp if self._clouds.newest else before
            if abs(newest - before) <= abs(newest - now):
                aside, self._aside = self._aside, None  # the first of what the clock follows
                self._jump("ROS clock jumped back")
                if aside:
                    self._take_cloud(aside)
        for cloud in self._clouds.pending:
            cloud.arrival = min(cloud.arrival, now)
        for stream in self._streams.values():
            stream.last_arrival = min(stream.last_arrival, now)

    def _ns(self, name: str) -> int:
        """A duration of the settings `sync.*` in ns."""
        return self._durations[name]

    def _jump(self, reason: str) -> None:
        self._tally.counts["time_jumps"] += 1
        self.reset(reason)

    def _stream(self, camera: str) -> CameraStream:
        if camera not in self._streams:
            raise ValueError(
                f"camera {camera!r}: not in the settings{nearest_name(camera, self._streams)}"
            )
        return self._streams[camera]

    def _accept(self, cloud: WaitingCloud) -> None:
        """Let a cloud wait for the images that it can get."""
        limit = self._ns("clock_skew_limit")
        for stream in self._streams.values():
            target = cloud.start + stream.offset
            if limit:
                stream.drop_ahead(target, limit)
            if stream.eligible(target):
                cloud.in_time.add(stream.name)
            if stream.worth_waiting or stream.state in _STARTING:
                cloud.waits_for.add(stream.name)
        self._clouds.add(cloud)
        while len(self._clouds.pending) > self._in_force.sync.max_pending_clouds:
            self._release(ReleaseReason.BACKLOG)

    def _pump(self) -> None:
        """Do what is due; clouds that wait go before the one set aside after them (R18)."""
        self._release_due()
        if self._aside and self._clock.steady - self._aside.arrival_steady > _SECOND:
            aside, self._aside = self._aside, None
            self._begin_with(aside)  # no cloud came that would say otherwise
            self._release_due()

    def _release_due(self) -> None:
        """Release every cloud whose time is over or that cannot gain by waiting (R4)."""
        if self._clouds.newest:
            for stream in self._streams.values():
                stream.refresh(self._clock.ros, self._clouds.newest.start + stream.offset)
        self._judge()
        max_wait = self._ns("max_wait")
        while self._clouds.pending:
            first = self._clouds.pending[0]
            unsettled = self._unsettled(first)
            reason = self._clock.overdue(first, max_wait) if unsettled else ReleaseReason.SETTLED
            if reason is None and any(
                self._clock.overdue(cloud, max_wait) for cloud in self._clouds.pending
            ):
                # a cloud with an older stamp came later: it must not hold up the others
                reason = ReleaseReason.BACKLOG
            if reason is None:
                return
            if reason is ReleaseReason.DEADLINE:
                first.held_by = tuple(
                    name for name in unsettled if self._streams[name].state is CameraState.ACTIVE
                )
            self._release(reason)
            self._judge()

    def _unsettled(self, cloud: WaitingCloud) -> list[str]:
        """The cameras that a cloud still waits for (R3)."""
        starting = self._is_starting()
        unsettled = []
        for name in sorted(cloud.waits_for):
            stream = self._streams[name]
            if stream.state is CameraState.ACTIVE:
                waits = not stream.is_settled(cloud.start + stream.offset, self._clock.ros)
            elif starting and stream.state in _STARTING:
                waits = True
            else:
                cloud.waits_for.remove(name)
                continue
            if waits:
                unsettled.append(name)
        return unsettled

    def _is_starting(self) -> bool:
        """Whether the grace for cameras that are not ready lasts: by both clocks, so that slow
        and fast bags get it in full, unless one stands still.
        """
        first = self._clouds.first
        assert first is not None, "asked while no cloud waits"
        return not self._clock.has_passed(
            self._ns("startup_grace"), first.arrival, first.arrival_steady
        )

    def _release(self, reason: ReleaseReason) -> None:
        """Let the oldest pending cloud go, with what is there."""
        cloud = self._clouds.release(self._clock.ros)
        paired = self._pair(cloud, reason)
        # what is still watched for late images must not keep megabytes of points
        cloud.payload = None
        self._tally.add_release(paired)
        self._release_to(paired)

    def _pair(self, cloud: WaitingCloud, reason: ReleaseReason) -> PairedCloud:
        """The PairedCloud of a cloud, from the images here now."""
        images, states = {}, {}
        for name, stream in self._streams.items():
            target = cloud.start + stream.offset
            image = stream.eligible(target) if stream.ready else None
            states[name] = CameraStatus.FUSED if image else stream.status_without_image
            if image:
                images[name] = PairedImage(image.stamp, image.payload, image.stamp - target)
                cloud.distance[name] = abs(image.stamp - target)
                stream.tally.add_match(image.stamp - target, image.arrival - cloud.arrival)
            elif stream.enabled:
                stream.tally.add_miss(stream.has_evicted(target))
        mode = mode_of(states, self._in_force.sync.min_cameras)
        if mode is Mode.LIDAR_ONLY:
            states = {
                name: CameraStatus.NO_IMAGE if name in images else state
                for name, state in states.items()
            }
            images = {}
        stalled = reason is ReleaseReason.CLOCK_STALLED
        since = cloud.arrival_steady if stalled else cloud.arrival
        return PairedCloud(
            stamp=cloud.stamp,
            cloud=cloud.payload,
            images=images,
            camera_states=states,
            mode=mode,
            epoch=self.epoch,
            sequence=self._tally.counts["released"],
            wait_ns=(self._clock.steady if stalled else self._clock.ros) - since,
            reason=reason,
            age_ns=cloud.age,
            released_ns=self._clock.steady,
        )

    def _judge(self) -> None:
        """Let the cameras learn from the clouds whose deadline is over."""
        max_wait = self._ns("max_wait")
        for cloud in self._clouds.come_of_age(self._clock.ros, max_wait):
            for name, stream in self._streams.items():
                if stream.ready:
                    stream.judge(
                        name in cloud.in_time,
                        name in cloud.held_by,
                        cloud.arrival,
                        cloud.arrival + max_wait,
                    )
                if not stream.worth_waiting:
                    for waiting in self._clouds.pending:
                        waiting.waits_for.discard(name)
                stream.note_offset(cloud.start)

    # ---- what it knows

    def report(self) -> SyncReport:
        """SyncReport: counters since the start, statistics of the last clouds, warnings. Does
        what is due first, as `on_tick`.
        """
        self._advance()
        cameras = {
            name: camera_sync(stream, self._clock.ros) for name, stream in self._streams.items()
        }
        newest = self._clouds.newest
        skew_limit = self._ns("clock_skew_limit") or _SECOND
        return self._tally.report(
            self.epoch,
            self.num_pending,
            newest.age if newest else math.nan,
            self._clock.warnings(self._clouds.first, newest, skew_limit),
            cameras,
        )
