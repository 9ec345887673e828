"""Rates, ratios and percentiles of the last ten seconds."""

import math
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

SPAN = 10.0  # seconds that a window looks back
_ENOUGH = 4  # entries before a period is believed


class Entry(NamedTuple):
    """Something that happened `at` (seconds of a steady clock)."""

    at: float
    value: Any


class Window:
    """What happened in the last ten seconds before the newest entry, in order."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()

    def add(self, at: float, value: Any) -> None:
        self._entries.append(Entry(at, value))
        while self._entries[0].at < at - SPAN:
            self._entries.popleft()

    def clear(self) -> None:
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)

    def __bool__(self) -> bool:
        return bool(self._entries)

    @property
    def values(self) -> list[Any]:
        return [entry.value for entry in self._entries]

    @property
    def last(self) -> Entry:
        """The newest Entry, of which there must be one."""
        return self._entries[-1]

    def age(self, now: float) -> float:
        """Seconds since the newest entry; NaN where there is none."""
        return now - self._entries[-1].at if self._entries else math.nan

    def count_since(self, moment: float) -> int:
        """Entries after a moment of the same clock."""
        return sum(entry.at > moment for entry in self._entries)

    def rate(self, now: float) -> float:
        """Entries a second. A stream that fell silent counts its silence, so the rate sinks at
        once and ends at 0.
        """
        times = [entry.at for entry in self._entries if now - entry.at <= SPAN]
        if len(times) < 2 or times[-1] == times[0]:
            return 0.0
        period = (times[-1] - times[0]) / (len(times) - 1)
        silence = now - times[-1]
        return 1 / silence if silence > 3 * period else 1 / period

    def jitter_ms(self) -> float:
        """Standard deviation of the time between entries; NaN for fewer than four."""
        return (
            1e3 * float(np.std(np.diff([entry.at for entry in self._entries])))
            if len(self) >= _ENOUGH
            else math.nan
        )

    def period_of_stamps(self) -> float:
        """Median step of the values, which are int ns, in seconds; 0 for fewer than four."""
        return (
            float(np.median(np.diff(np.array(self.values, np.int64)))) / 1e9
            if len(self) >= _ENOUGH
            else 0.0
        )


def percentile(values: Sequence[float], share: float) -> float:
    """`share` in percent; NaN where there are no values."""
    return float(np.percentile(values, share)) if values else math.nan
