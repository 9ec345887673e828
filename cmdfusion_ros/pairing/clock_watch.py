"""Two clocks and what goes wrong with the first: the ROS clock may be absent, stand still (a
paused bag) or be set back (a bag that begins again).
"""

from typing import Protocol

from cmdfusion_ros.pairing.cloud_queue import WaitingCloud
from cmdfusion_ros.pairing.paired_cloud import ReleaseReason

MIN_STALL = 500_000_000  # ns: a /clock slower than 2 Hz counts as standing still


class Clock(Protocol):
    """Two clocks, int ns."""

    def now_ros(self) -> int:
        """Of ROS; 0 while there is no ROS time yet."""

    def now_steady(self) -> int:
        """One that never jumps."""


class ClockWatch:
    """Reads a clock and remembers how the ROS time moved. All times are int ns.

    Args:
        clock: has `now_ros()` (0 while there is no ROS time yet) and `now_steady()`.
    """

    def __init__(self, clock: Clock):
        self._clock = clock
        self.ros = clock.now_ros()  # at the last reading
        self.steady = clock.now_steady()
        self._moved = self.steady  # when the ROS clock was last seen to move
        self._jump: tuple[int, int] | None = None  # (ROS time before, after) of the last jump back

    def read(self) -> int | None:
        """Read both clocks. Returns the ROS time before where it went back since the last
        reading, else None.
        """
        before, self.ros, self.steady = self.ros, self._clock.now_ros(), self._clock.now_steady()
        if self.ros != before:
            self._moved = self.steady
        return before if self.ros < before else None

    def standing_still(self, since: int) -> int:
        """For how long (steady) the ROS clock has stood still, counted from `since` (steady) at
        the earliest.
        """
        return self.steady - max(since, self._moved)

    def overdue(self, cloud: WaitingCloud, max_wait: int) -> ReleaseReason | None:
        """Why a WaitingCloud must leave now, None while it may wait: max_wait ns are over, or the
        ROS clock has stood still for so long that they will not be.
        """
        if self.ros - cloud.arrival >= max_wait:
            return ReleaseReason.DEADLINE
        if self.standing_still(cloud.arrival_steady) >= max(5 * max_wait, MIN_STALL):
            return ReleaseReason.CLOCK_STALLED
        return None

    def has_passed(self, duration: int, ros: int, steady: int) -> bool:
        """Whether `duration` is over by both clocks since they read `ros` and `steady`; by the
        second alone where the first stands still.
        """
        stalled = self.standing_still(steady) >= MIN_STALL
        return self.steady - steady >= duration and (self.ros - ros >= duration or stalled)

    def warnings(
        self, first: WaitingCloud | None, newest: WaitingCloud | None, limit: int
    ) -> tuple[str, ...]:
        """What a user should know of the clocks.

        Args:
            first, newest: WaitingClouds of this time line, or both None.
            limit: ns that the stamps of clouds may be away from the ROS clock.
        """
        if first is None or newest is None:
            return ()
        if self.standing_still(first.arrival_steady) >= MIN_STALL:
            return (
                "the ROS clock stands still; is the bag paused, or is use_sim_time true without "
                "anybody publishing /clock?",
            )
        if abs(newest.age) > limit:
            return (
                f"cloud stamps are {-newest.age / 1e9:+.3f} s away from the ROS clock; is "
                "use_sim_time right?",
            )
        return ()

    def note_jump(self, before: int) -> None:
        """The ROS time went back from `before` for good."""
        self._jump = (before, self.ros)

    def is_left_over(self, stamp: int, horizon: int) -> bool:
        """Whether a message was still under way when the ROS clock jumped back: stamped near the
        time before, not near the time now.

        `horizon`: how far from the time before, and for how long after the jump at most; long
        before the clock comes to where it was.
        """
        if self._jump is None:
            return False
        before, after = self._jump
        if self.ros > after + min(horizon, (before - after) // 2):
            self._jump = None
            return False
        return abs(stamp - before) < min(abs(stamp - self.ros), horizon)
