"""Which clouds were lost lately, and whether a person should hear of it."""

from collections import Counter

from cmdfusion_ros.labelling.diagnostics.windows import SPAN, Window

_ENOUGH = 10  # clouds within the span before shares are believed
_WRONG = 0.1  # share of clouds lost for a reason that is nobody's wish
_SLOW = 0.5  # share of clouds skipped because the network was busy
# what the user or the settings asked for
_WISHED = {"paused", "no_subscriber", "rate_limit", "inactive", "stopped"}


class LostClouds:
    """The counts of the last ten seconds, taken at each look."""

    def __init__(self) -> None:
        self._looks = Window()  # of (received, {reason: clouds})

    def clear(self) -> None:
        """Forget what was, as at an activation."""
        self._looks.clear()

    def look(self, now: float, received: int, dropped: Counter) -> None:
        """The counts since the start, as of `now`, seconds of a steady clock."""
        self._looks.add(now, (received, Counter(dropped)))

    def complaint(self) -> str:
        """A sentence where too many of the last clouds were lost; "" where that is well."""
        looks = self._looks.values
        if not looks:
            return ""
        received = looks[-1][0] - looks[0][0]
        recent = Counter(looks[-1][1])
        recent.subtract(looks[0][1])
        if recent["queue_full"] > 0:  # who asked for the queue asked to lose nothing
            return (
                f"{recent['queue_full']} of the last {received} clouds came while the queue was "
                "full and are lost: play the bag more slowly"
            )
        if received < _ENOUGH:
            return ""
        wrong = {
            reason: number
            for reason, number in recent.items()
            if number > 0 and reason not in _WISHED | {"busy"}
        }
        if sum(wrong.values()) >= _WRONG * received:
            reasons = ", ".join(
                f"{number} {reason}"
                for reason, number in sorted(wrong.items(), key=lambda item: -item[1])
            )
            return f"of the last {received} clouds these were lost: {reasons}"
        if recent["busy"] > _SLOW * received:
            return (
                f"{recent['busy']} of the last {received} clouds were skipped: the network is "
                f"slower than they come ({SPAN:g} s looked at); docs/running.md says what to turn"
            )
        return ""
