"""The time of a bag, for the node without ROS."""


class BagClock:
    """The clock of a bag: the recording time of the message at hand, as ROS time and as steady
    time.
    """

    def __init__(self, now: int) -> None:
        self.now = now

    def now_ros(self) -> int:
        return self.now

    def now_steady(self) -> int:
        return self.now
