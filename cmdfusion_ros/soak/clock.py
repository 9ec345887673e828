"""Time that passes when it is told to."""

_BEGIN = 1_700_000_000_000_000_000  # ns, ROS time at steady time 0


class SoakClock:
    """A steady clock, and a ROS clock beside it that may be set, or stand. int ns.

    Attributes:
        steady: ns since the beginning. offset: ROS time minus steady time. stands: whether the ROS
            clock stands still.
    """

    def __init__(self) -> None:
        self.steady = 0
        self.offset = _BEGIN
        self.stands = False
        self.jitter = 0  # ns that the ROS clock is behind itself: a second publisher of /clock

    def now_ros(self) -> int:
        """ROS time, ns."""
        return self.steady + self.offset - self.jitter

    def now_steady(self) -> int:
        """Steady time, ns."""
        return self.steady

    def seconds(self) -> float:
        """Steady time, seconds."""
        return self.steady / 1e9

    def advance(self, ns: int) -> None:
        """Let time pass."""
        self.steady += ns
        if self.stands:
            self.offset -= ns
