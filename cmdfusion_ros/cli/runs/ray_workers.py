"""`cmdfusion label --cluster`: workers of a Ray cluster. A bag is a task, in a process of its own
on whichever node has a core free; what a worker leaves lies on a file system that all nodes share.
"""

import logging
import os
import socket
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from cmdfusion_ros import __version__
from cmdfusion_ros.cli.main import main
from cmdfusion_ros.cli.runs.bag_workers import ONE_THREAD, BagWorker, Ended

_KNOCK_S = 10.0  # seconds


def task_options(device: str, threads: int) -> dict[str, Any]:
    """What a task is given: a core a thread, with `--device cuda` a GPU too; a process that ends
    with it, so that killing the one kills the other; and no second try, of which `run_jobs`
    decides.
    """
    return {
        "num_cpus": threads,
        "num_gpus": 1 if device.startswith("cuda") else 0,
        "max_calls": 1,
        "max_retries": 0,
        "runtime_env": {"env_vars": ONE_THREAD},
    }


def label_on_node(words: Sequence[str], log: str, version: str) -> int:
    """The exit code of `cmdfusion WORDS` in this process; what it says goes into the file `log`.
    2 where the node has another version than the one that asks, whose bytes may differ.
    """
    with open(log, "w", buffering=1) as said, redirect_stdout(said), redirect_stderr(said):
        for stream in (1, 2):  # what libraries in C say
            os.dup2(said.fileno(), stream)
        print(f"on {socket.gethostname()}, process {os.getpid()}")
        if version != __version__:
            print(f"expected cmdfusion_ros {version} on every node, got {__version__} on this one")
            return 2
        try:
            return main(words)
        except SystemExit as end:  # a wrong option
            return end.code if isinstance(end.code, int) else 2


class _Task:
    def __init__(self, ray: Any, reference: Any, log: Path):
        self._ray, self._reference, self._log = ray, reference, log

    def poll(self) -> Ended | None:
        if not self._ray.wait([self._reference], timeout=0)[0]:
            return None
        try:
            return Ended(self._ray.get(self._reference))
        except self._ray.exceptions.RayTaskError as error:  # not killed: it cannot run there
            with open(self._log, "a") as said:
                said.write(f"\n{error}\n")
            return Ended(1)
        except self._ray.exceptions.RayError as error:  # its process, its node, its memory
            return Ended(None, f"lost ({type(error).__name__})")

    def stop(self) -> None:
        self._ray.cancel(self._reference, force=True)

    def wait(self) -> None:
        self._ray.wait([self._reference], timeout=10)


def _knock(address: str) -> None:
    """Whether anything listens there: Ray itself would ask for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"--cluster {address}: expected HOST:PORT of the cluster's head, or auto")
    try:
        socket.create_connection((host, int(port)), _KNOCK_S).close()
    except OSError as error:
        raise ConnectionError(
            f"--cluster {address}: nothing answers there ({error}); is `ray start --head` running?"
        ) from error


class RayWorkers:
    """Workers of a cluster that runs.

    Args:
        address: of its head, "HOST:PORT", or "auto" for the one that this machine belongs to.
        number: of bags at a time; None for as many as it has room for, nodes that join included.
        device, threads: as --device and --threads.

    Raises:
        ModuleNotFoundError: Ray is not installed. ConnectionError: no cluster there.
        ValueError: fewer than one worker, or no address.
    """

    def __init__(self, address: str, number: int | None, device: str, threads: int):
        try:
            import ray
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "--cluster: Ray is not installed: pip install 'cmdfusion_ros[ray]', here and on "
                "every node"
            ) from error
        if number is not None and number < 1:
            raise ValueError(f"--processes {number}: expected 1 or more")
        self.number = 1 << 30 if number is None else number
        self._ray = ray
        if address != "auto":
            _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
        self._label = ray.remote(**task_options(device, threads))(label_on_node)

    def start(self, words: Sequence[str], log: Path) -> BagWorker:
        log.unlink(missing_ok=True)  # of an earlier try: this one may wait for a free core
        return _Task(self._ray, self._label.remote(list(words), str(log), __version__), log)

    def close(self) -> None:
        self._ray.shutdown()
