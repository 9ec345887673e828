"""The live line of a run in the terminal: progress bar, rate, mode, latency."""

import math
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TextIO

from tqdm import tqdm

from cmdfusion_ros.cli.runs.quiet import is_quiet
from cmdfusion_ros.cli.runs.record import RunRecord

_WIDTH = 28  # characters of the bar
# seconds between lines where the output is a file and a line cannot be overwritten
_QUIET_PERIOD = 2.0
_MANY_PERIOD = 10.0  # the same of many bags, which take hours


def progress_bar(
    items: Iterable[Any] | None = None, total: int | None = None, unit: str = "scan", begin: int = 0
) -> Any:
    """A bar of tqdm, over `items` or to be updated; none with --quiet.

    Args:
        items: iterable, or None. total: how many there are. unit: of what. begin: so many are done.
    """
    return tqdm(items, total=total, unit=unit, initial=begin, disable=is_quiet())


class LiveLine:
    """One line that is rewritten in place; where the output is no terminal, a new line every
    `period` seconds. Nothing with --quiet.
    """

    def __init__(self, stream: TextIO | None = None, period: float = _QUIET_PERIOD):
        self._stream, self._period = stream or sys.stdout, period
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
        elif now - self._last >= self._period and text != self._last_text:
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


class BagsProgress:
    """The live line while bags are labelled: bar, bags done, clouds, clouds a second, time to go.

    Clouds of a bag that nobody has opened are not known, so the share that is done, and the time
    to go with it, are told by the bytes of the bags.

    Args:
        sizes: {bag: bytes} of those to do.
    """

    def __init__(self, sizes: Mapping[str, int], stream: TextIO | None = None):
        self._sizes = {name: max(size, 1) for name, size in sizes.items()}
        self._finished: dict[str, int] = {}  # {bag: clouds}
        self._stream, self._started = stream or sys.stdout, time.monotonic()
        self._line = LiveLine(stream, _MANY_PERIOD)

    def done(self, name: str, clouds: tuple[int, int] | None) -> None:
        """A bag is done, with (clouds done, all clouds) of it."""
        self._finished[name] = clouds[0] if clouds else 0

    def show(self, running: Mapping[str, tuple[int, int] | None]) -> None:
        """Show it, with (clouds done, all clouds) of the bags that are being labelled."""
        self._line.show(self._text(running))

    def say(self, text: str) -> None:
        """A line of its own, above; with --quiet too."""
        if is_quiet():
            print(text, file=self._stream, flush=True)
        self._line.finish(text)

    def finish(self) -> None:
        """Say a last time how it stands, if there was anything to do."""
        if self._sizes:
            self._line.finish(self._text({}))

    def _text(self, running):
        seconds = max(time.monotonic() - self._started, 1e-3)
        known = {name: counts for name, counts in running.items() if counts}
        clouds = sum(self._finished.values()) + sum(done for done, _ in known.values())
        size = sum(self._sizes[name] for name in self._finished)
        size += sum(self._sizes[name] * done / max(all_, 1) for name, (done, all_) in known.items())
        share = size / sum(self._sizes.values())
        left = f"{duration(seconds / share - seconds)} to go" if share else "- to go"
        return (
            f"{_bar(share)} {len(self._finished)}/{len(self._sizes)} bags  {clouds} clouds  "
            f"{clouds / seconds:.2f} a second  {left if share < 1 else f'in {duration(seconds)}'}"
        )


def duration(seconds: float) -> str:
    """A time in words: 84 s, 12 min, 3.4 h."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _bar(share):
    full = round(_WIDTH * share)
    return f"[{'█' * full}{'·' * (_WIDTH - full)}]"


def clouds_done(text: str) -> tuple[int, int] | None:
    """(done, all) clouds of the last line of `progress` in a text; None where there is none."""
    found = re.findall(r"] (\d+)/(\d+) clouds ", text)
    return (int(found[-1][0]), int(found[-1][1])) if found else None


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
