"""Doors that do on purpose what a door must not do, for the tests of the hunt.

A hunt forks, and libraries whose threads ran before (OpenMP of torch, in a whole run of pytest)
hang in a forked process. So each of these is hunted from an interpreter of its own.
"""

import importlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz import door as bounds
from fuzz import hunt as hunting
from fuzz.door import Door

for _library in ("cv2", "torch"):  # a child would need seconds for them, and they are no hang
    importlib.import_module(_library)

INPUTS = [b"good", b"fine", b"bad!", b"well"]


def fresh(call: Callable[..., dict[str, Any]], *args: Any) -> dict[str, Any]:
    """What a function of a module gives in a new interpreter."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply_async(call, args).get(timeout=240)


def _wait(data):
    time.sleep(60)


def _loop(data):
    while True:
        pass


def _grow(data, held=[]):  # noqa: B006
    held.append(bytearray(os.urandom(1 << 16)))


# name -> (what the door does, how the kind of its fall begins)
WRONG = {
    "KeyError": (lambda data: {}[data], "KeyError-"),
    "a loop": (_loop, "TooLong-"),
    "a wait": (_wait, "hang"),
    "memory": (lambda data: bytearray(os.urandom(1 << 20)) * 600, "memory"),
    "more memory than there is": (lambda data: bytearray(1 << 40), "MemoryError-"),
    "a dead process": (lambda data: os.kill(os.getpid(), signal.SIGSEGV), "signal-SIGSEGV"),
    "an exit": (lambda data: os._exit(3), "exit-3"),
}


def hunt_wrong(what: str, out: Path) -> dict[str, Any]:
    """Hunt a door that does WRONG[what] to one input; what `hunt` returns."""
    call, _ = WRONG[what]
    if call is _loop:
        bounds.MOST_SECONDS = 0.3
    hunting.HANG = 3.0 if call is _wait else 20.0
    honest = os.getpid()

    def take(data, folder):
        # the honest round before the hunt is not what is tried here
        if data == b"bad!" and (folder / "hunted").exists():
            call(data)
        if data == b"well":
            (folder / "hunted").touch()
        assert os.getpid() != honest

    door = Door("test", take, (ValueError,), lambda: INPUTS, lambda data, random: b"good")
    return hunting.hunt(door, INPUTS, 6, 0, out)


def hunt_growing(out: Path) -> dict[str, Any]:
    """Hunt a door that keeps 64 kB of every case."""
    hunting.FEWEST_FOR_GROWTH = 100
    door = Door(
        "test", lambda data, folder: _grow(data), (), lambda: [b""], lambda data, random: data
    )
    return hunting.hunt(door, [b""], 1500, 0, out)


def hunt_refusing(seen: Path, out: Path) -> dict[str, Any]:
    """Hunt a door that refuses all it gets, as it declares, and writes it down."""

    def take(data, folder):
        with open(seen, "ab") as stream:
            stream.write(data + b"\n")
        raise ValueError

    def change(data, random):
        return b"%d" % random.randrange(10**9)

    door = Door("test", take, (ValueError,), lambda: [b"0"], change)
    return hunting.hunt(door, [b"0"], 20, 5, out)
