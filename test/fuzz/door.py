"""What a door is, and what it must never do with an input: raise what it does not declare, or take
longer or more memory than an input of some kB may.
"""

import resource
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

MOST_SECONDS = 5.0  # of CPU time, of one case; the slowest honest one takes some 20 ms
MOST_MEMORY = 400 << 20  # bytes that one case may add to the peak; a 64-megapixel image is 192 MB
MOST_BYTES = 1 << 16  # of an input


@dataclass(frozen=True)
class Door:
    """A function that takes what strangers give.

    Attributes:
        name: of the folder of its corpus too.
        call: (input, folder for files) -> None; it may write one file there and read that.
        declared: what it says that it raises.
        seeds: () -> honest inputs.
        mutate: (input, Random) -> an input nearby, by somebody who knows its structure.
        share: how many of the cases are its own, beside those of the others.
    """

    name: str
    call: Callable[[bytes, Path], None]
    declared: tuple[type[BaseException], ...]
    seeds: Callable[[], list[bytes]]
    mutate: Callable[[bytes, Random], bytes]
    share: float = 1.0


class TooLong(BaseException):
    """A case takes too long. No Exception: nothing must catch it."""


@dataclass(frozen=True)
class Fall:
    """A case that a door did not stand. `kind` is the same for cases with the same cause."""

    kind: str
    text: str


def attempt(door: Door, data: bytes, folder: Path) -> str | Fall:
    """Give one input to a door: "taken", "refused", or what went wrong."""
    peak, started = _peak(), time.process_time()
    signal.signal(signal.SIGPROF, _ring)
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
    try:
        door.call(data, folder)
        outcome: str | Fall = "taken"
    except door.declared:
        outcome = "refused"
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        signal.setitimer(signal.ITIMER_PROF, 0)
        return Fall(_kind(error), traceback.format_exc())
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    seconds, memory = time.process_time() - started, _peak() - peak
    if seconds > MOST_SECONDS:  # inside of a library, where no bell is heard
        return Fall("slow", f"{seconds:.1f} s")
    if memory > MOST_MEMORY:
        return Fall("memory", f"{memory >> 20} MB")
    return outcome


def _ring(*_):
    raise TooLong


def _peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _kind(error):
    """Class of an error, and the innermost lines of ours and of all on its way."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/cmdfusion_ros/" in frame.filename]
    places = {f"{Path(frame.filename).name}:{frame.lineno}" for frame in (*ours[-1:], frames[-1])}
    return "-".join([type(error).__name__, *sorted(places)])
