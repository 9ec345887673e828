"""Rates, ratios and percentiles of the last ten seconds."""

import math
from collections import deque
from typing import NamedTuple

import numpy as np

SPAN = 10.0  # seconds that a window looks back
_ENOUGH = 4  # entries before a period is believed


class Entry(NamedTuple):
    """Something that happened `at` (seconds of a steady clock)."""

    at: float
    value: object


class Window:
    """What happened in the last ten seconds before the newest entry, in order."""

    def __init__(self):
        self._entries = deque()

    def add(self, at, value):
        self._entries.append(Entry(at, value))
        while self._entries[0].at < at - SPAN:
            self._entries.popleft()

    def clear(self):
        self._entries.clear()

    def __len__(self):
        return len(self._entries)

    def __bool__(self):
        return bool(self._entries)

    @property
    def values(self):
        return [entry.value for entry in self._entries]

    @property
    def last(self):
        """The newest Entry, or None."""
        return self._entries[-1] if self._entries else None

    def age(self, now):
        """Seconds since the newest entry; NaN where there is none."""
        return now - self._entries[-1].at if self._entries else math.nan

    def count_since(self, moment: float) -> int:
        """Entries after a moment of the same clock."""
        return sum(entry.at > moment for entry in self._entries)

    def rate(self, now):
        """Entries a second. A stream that fell silent counts its silence, so the rate sinks at
        once and ends at 0.
        """
        times = [entry.at for entry in self._entries if now - entry.at <= SPAN]
        if len(times) < 2 or times[-1] == times[0]:
            return 0.0
        period = (times[-1] - times[0]) / (len(times) - 1)
        silence = now - times[-1]
        return 1 / silence if silence > 3 * period else 1 / period

    def jitter_ms(self):
        """Standard deviation of the time between entries; NaN for fewer than four."""
        return (
            1e3 * float(np.std(np.diff([entry.at for entry in self._entries])))
            if len(self) >= _ENOUGH
            else math.nan
        )

    def period_of_stamps(self):
        """Median step of the values, which are int ns, in seconds; 0 for fewer than four."""
        return (
            float(np.median(np.diff(np.array(self.values, np.int64)))) / 1e9
            if len(self) >= _ENOUGH
            else 0.0
        )


def percentile(values, share):
    """`share` in percent; NaN where there are no values."""
    return float(np.percentile(values, share)) if values else math.nan
