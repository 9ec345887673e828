"""Who labels the bags of a run over many: processes of this machine. `ray_workers.py` has those of
a cluster.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_CMDFUSION = (sys.executable, "-m", "cmdfusion_ros")


@dataclass(frozen=True)
class Ended:
    """How a worker came to its end: its exit code, or None and `how` it died ("killed by ...")."""

    code: int | None
    how: str = ""


class BagWorker(Protocol):
    """One bag being labelled."""

    def poll(self) -> Ended | None:
        """How it ended; None while it works."""

    def stop(self) -> None:
        """Ask it to end at once."""

    def wait(self) -> None:
        """Return when it has ended, after `stop`."""


class BagWorkers(Protocol):
    """Starts workers, `number` of them at a time at most."""

    number: int

    def start(self, words: Sequence[str], log: Path) -> BagWorker:
        """Run `cmdfusion WORDS` with one thread; what it says goes into `log`."""

    def close(self) -> None:
        """Let go of what they run on."""


class _Process:
    def __init__(self, process: subprocess.Popen[bytes]):
        self._process = process

    def poll(self) -> Ended | None:
        code = self._process.poll()
        if code is None:
            return None
        return Ended(code) if code >= 0 else Ended(None, f"killed by signal {-code}")

    def stop(self) -> None:
        self._process.terminate()

    def wait(self) -> None:
        self._process.wait()


class LocalWorkers:
    """Processes of this machine.

    Args:
        number: at a time. command: what the words are given to.

    Raises:
        ValueError: fewer than one.
    """

    def __init__(self, number: int, command: Sequence[str] = _CMDFUSION):
        if number < 1:
            raise ValueError(f"--processes {number}: expected 1 or more")
        self.number, self._command = number, tuple(command)

    def start(self, words: Sequence[str], log: Path) -> BagWorker:
        with open(log, "wb") as said:
            return _Process(
                subprocess.Popen(
                    [*self._command, *words],
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **ONE_THREAD},
                )
            )

    def close(self) -> None:
        pass  # run_jobs has ended them
