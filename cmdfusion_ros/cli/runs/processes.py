"""Child processes of a run: started together, heard through their JSON lines, ended together
whatever happens.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

_TAKE_AT_MOST = 0.5  # seconds; a robot's /tf is never quiet
# seconds a process has to end after SIGINT, then again after SIGTERM, before it is killed
_GRACE = 8.0


class ProcessError(RuntimeError):
    """A process of the run failed. The text says which, and holds the end of its log."""


def find_fastdds_profile() -> Path | None:
    """The Fast DDS profile for large clouds; None where it is nowhere."""
    return find_config("fastdds_large_clouds.xml")


def find_config(name: str) -> Path | None:
    """A file of `config/`: in the source tree or a share folder (colcon's, pip's); None where it
    is nowhere.
    """
    path = Path("config") / name
    prefixes = [
        *filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)),
        sys.prefix,
    ]
    places = [
        Path(__file__).resolve().parents[3] / path,
        *(Path(prefix) / "share" / "cmdfusion_ros" / path for prefix in prefixes),
    ]
    return next((place for place in places if place.is_file()), None)


def fastdds_variable() -> str:
    """Name of the environment variable that the Fast DDS of this ROS 2 reads its profiles from:
    version 2 knows the old name only, 3 warns about it.
    """
    return (
        "FASTRTPS_DEFAULT_PROFILES_FILE"
        if os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy")
        else "FASTDDS_DEFAULT_PROFILES_FILE"
    )


def ros_environment(domain: int) -> dict[str, str]:
    """An environment for processes that talk only among themselves: a domain that `own_domain`
    gave, this machine, the Fast DDS profile for large clouds. A profile that the user has set
    stays.
    """
    environment = {
        **os.environ,
        "ROS_DOMAIN_ID": str(domain),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }
    # it has another word for the discovery range; newer ones warn about it
    if os.environ.get("ROS_DISTRO") == "humble":
        environment["ROS_LOCALHOST_ONLY"] = "1"
    profile = find_fastdds_profile()
    if profile:
        environment.setdefault(fastdds_variable(), str(profile))
    return environment


class ProcessGroup:
    """Python modules running as processes. Use it in a `with`: leaving it ends them all, in reverse
    order of their start.

    Attributes:
        events: queue of (name, event) from every process that was started with `listen`.
    """

    def __init__(self, log_folder: Path, environment: Mapping[str, str]):
        self._folder, self._environment = Path(log_folder), environment
        self._processes, self._readers = {}, []
        self.events = queue.Queue()

    def __enter__(self) -> "ProcessGroup":
        return self

    def __exit__(self, *exception: object) -> None:
        for name in reversed(list(self._processes)):
            with suppress(ProcessLookupError):
                self._end(self._processes[name])

    def start(
        self, name: str, module: str, *arguments: Sequence[str], listen: bool = False
    ) -> None:
        """Start `python -m module arguments`. Its words go to <log_folder>/<name>.log; with
        `listen` its output lines are events instead.
        """
        command = [sys.executable, "-m", module, *(str(argument) for argument in arguments)]
        with open(self.log(name), "w") as log:
            # A session of its own: Ctrl-C reaches this process only, which then ends the others in
            # order.
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if listen else log,
                stderr=log,
                env=self._environment,
                text=True,
                start_new_session=True,
            )
        self._processes[name] = process
        if listen:
            reader = threading.Thread(target=self._read, args=(name, process.stdout), daemon=True)
            reader.start()
            self._readers.append(reader)

    def _read(self, name, stream):
        for line in stream:
            try:
                self.events.put((name, json.loads(line)))
            except ValueError:
                with open(self.log(name), "a") as log:  # not an event: somebody printed
                    log.write(line)

    def log(self, name: str) -> Path:
        """Path of a process's log."""
        return self._folder / f"{name}.log"

    def log_tail(self, name: str, lines: int = 25) -> str:
        """The last lines of a process's log."""
        return (
            "\n".join(self.log(name).read_text(errors="replace").splitlines()[-lines:])
            if self.log(name).exists()
            else ""
        )

    def check(self) -> None:
        """Raise ProcessError where a process has ended with an exit code other than 0."""
        for name, process in self._processes.items():
            if process.poll():
                raise ProcessError(
                    f"the {name} ended with exit code {process.returncode}; its last words "
                    f"({self.log(name)}):\n{self.log_tail(name)}"
                )

    def running(self, name: str) -> bool:
        """Whether a process that was not stopped still runs."""
        return self._processes[name].poll() is None

    def cpu_seconds(self, name: str) -> float | None:
        """CPU time that a running process has had, its threads' included; None where this system
        has no /proc.
        """
        with suppress(OSError):
            words = Path(f"/proc/{self._processes[name].pid}/stat").read_text().rpartition(")")[2]
            user, system = words.split()[11:13]
            return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
        return None

    def stop(self, name: str, patience: float = 0.0) -> int:
        """End one process that did not end by itself within `patience` seconds; returns its exit
        code, which is no failure of the run any more.
        """
        process = self._processes.pop(name)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
        return self._end(process)

    def _end(self, process):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, number)  # its children too
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_GRACE)
        return process.wait()

    def wait_for(
        self, wanted: Callable[[str, dict[str, Any]], bool], timeout: float, what: str
    ) -> tuple[str, dict[str, Any]]:
        """Take events until `wanted(name, event)` is true; returns (name, event) of that one.

        Raises:
            ProcessError: a process failed meanwhile, or `timeout` seconds passed: `what` did not
                happen.
        """
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            for name, event in self.take(0.1):
                if event["event"] == "failed":
                    raise ProcessError(f"the {name} failed: {event['why']}")
                if wanted(name, event):
                    return name, event
        raise ProcessError(
            f"{what} did not happen within {timeout:g} s\n"
            + "\n".join(f"--- {name}\n{self.log_tail(name, 12)}" for name in self._processes)
        )

    def take(self, timeout: float) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (name, event) until nothing comes for `timeout` seconds, or half a second is
        over; then check the processes.
        """
        end = time.monotonic() + _TAKE_AT_MOST
        while time.monotonic() < end:
            try:
                yield self.events.get(timeout=timeout)
            except queue.Empty:
                break
        self.check()
