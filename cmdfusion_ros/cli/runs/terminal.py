"""The live line of a run in the terminal: progress bar, rate, mode, latency."""

import math
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from tqdm import tqdm

from cmdfusion_ros.cli.runs.quiet import is_quiet
from cmdfusion_ros.cli.runs.record import RunRecord

_WIDTH = 28  # characters of the bar
# seconds between lines where the output is a file and a line cannot be overwritten
_QUIET_PERIOD = 2.0


def progress_bar(
    items: Iterable[Any] | None = None, total: int | None = None, unit: str = "scan", begin: int = 0
) -> Any:
    """A bar of tqdm, over `items` or to be updated; none with --quiet.

    Args:
        items: iterable, or None. total: how many there are. unit: of what. begin: so many are done.
    """
    return tqdm(items, total=total, unit=unit, initial=begin, disable=is_quiet())


class LiveLine:
    """One line that is rewritten in place; where the output is no terminal, a new line every two
    seconds. Nothing with --quiet.
    """

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream or sys.stdout
        self._in_place = self._stream.isatty()
        self._last, self._last_text = -math.inf, ""
        self._length = 0

    def show(self, text: str) -> None:
        """Show `text` now (in a file: when it is time and it is news)."""
        if is_quiet():
            return
        now = time.monotonic()
        if self._in_place:
            self._stream.write("\r" + text.ljust(self._length))
            self._length = len(text)
        elif now - self._last >= _QUIET_PERIOD and text != self._last_text:
            self._stream.write(text + "\n")
            self._last, self._last_text = now, text
        self._stream.flush()

    def finish(self, text: str) -> None:
        """Show `text` a last time and go to the next line."""
        if is_quiet():
            return
        if self._in_place:
            self._stream.write("\r" + text.ljust(self._length) + "\n")
        elif text != self._last_text:
            self._stream.write(text + "\n")
        self._stream.flush()
        self._length, self._last_text = 0, ""


class ScanProgress:
    """The live line while scans are made: bar, scans done, scans a second, time to go."""

    def __init__(self, total: int):
        self._total, self._done, self._started, self._line = total, 0, time.monotonic(), LiveLine()

    def add(self, count: int) -> None:
        """So many scans more are done."""
        self._done += count
        rate = self._done / max(time.monotonic() - self._started, 1e-3)
        left = (self._total - self._done) / rate
        self._line.show(
            f"{_bar(self._done / self._total)} {self._done}/{self._total} scans  "
            f"{rate:5.2f} a second  {left:4.0f} s to go"
        )

    def counted(self, items: Iterable[Any]) -> Iterator[Any]:
        """The items, each counted as it passes."""
        for item in items:
            yield item
            self.add(1)

    def finish(self) -> None:
        """Replace the line by a last one that says how long it took."""
        seconds = time.monotonic() - self._started
        self._line.finish(
            f"{self._done} scans in {seconds:.0f} s: {self._done / max(seconds, 1e-3):.2f} a second"
        )


def _bar(share):
    full = round(_WIDTH * share)
    return f"[{'█' * full}{'·' * (_WIDTH - full)}]"


def progress(record: RunRecord) -> str:
    """The line for a RunRecord: bar of clouds done, rate, mode, last latency, drops."""
    done, total = record.count("labelled") + sum(record.dropped.values()), record.num_clouds
    done = max(done, len(record.returned))
    latencies = record.latencies_ms
    rate = record.rate_hz
    words = [
        f"{_bar(min(done / max(total, 1), 1.0))} {done}/{total} clouds",
        "  -.- Hz" if math.isnan(rate) else f"{rate:5.1f} Hz",
        f"{record.last_mode or 'waiting':<10}",
        f"latency {latencies[-1]:6.0f} ms" if len(latencies) else "latency      - ms",
    ]
    if record.dropped:
        words.append(
            "dropped " + ", ".join(f"{count} {name}" for name, count in record.dropped.items())
        )
    return "  ".join(words)
