"""Where the time of an inference goes: named stages, clocked only while a StageClock is open."""

import threading
import time
from typing import Any

_clock: Any = None  # the StageClock that is open


class StageClock:
    """Inside, every `stage` that the opening thread enters is timed; what it enters within another
    counts for the inner one alone. Other threads are not timed: measure with one.

    Attributes:
        seconds: {name: (wall, CPU)} summed over all entries, in the order of the first ones.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, tuple[float, float]] = {}
        self._thread = threading.get_ident()
        self._open: list[str] = []  # names of the stages that are open, innermost last
        self._since = (0.0, 0.0)

    def __enter__(self) -> "StageClock":
        global _clock
        if _clock is not None:
            raise RuntimeError("a StageClock is open already; only one can be")
        _clock = self
        return self

    def __exit__(self, *error: object) -> None:
        global _clock
        _clock = None

    def begin(self, name: str) -> None:
        """A stage begins, and the one around it rests."""
        self._charge()
        self._open.append(name)
        self.seconds.setdefault(name, (0.0, 0.0))

    def end(self) -> None:
        """The innermost stage ends."""
        self._charge()
        self._open.pop()

    def is_of_this_thread(self) -> bool:
        """Whether the calling thread is the one that is timed."""
        return threading.get_ident() == self._thread

    def _charge(self) -> None:
        now = (time.perf_counter(), time.thread_time())
        if self._open:
            wall, cpu = self.seconds[self._open[-1]]
            wall, cpu = wall + now[0] - self._since[0], cpu + now[1] - self._since[1]
            self.seconds[self._open[-1]] = (wall, cpu)
        self._since = now


class stage:
    """`with stage("head"):` says what the lines inside are; costs nothing where nobody listens."""

    def __init__(self, name: str):
        self._name = name
        self._clock: StageClock | None = None

    def __enter__(self) -> None:
        if _clock is not None and _clock.is_of_this_thread():
            self._clock = _clock
            _clock.begin(self._name)

    def __exit__(self, *error: object) -> None:
        if self._clock is not None:
            self._clock.end()
