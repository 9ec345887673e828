"""A few threads that share the rows of a layer.

torch's own threads meet at a barrier in every small operation, some 60 times a sparse convolution.
Where anything else runs on the machine, one of them is
regularly off its core and the others spin: seen with two cores and load 2, a layer of 22 ms took
650 ms. These threads instead run whole blocks of rows with one torch thread each, take the next
block when they are done, and meet once a layer; a core that is busy elsewhere just takes fewer
blocks.
"""

import itertools
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


class Workers:
    """Runs numbered tasks on several threads, the calling one among them. Calls from several
    threads at once are fine: each runs its own tasks.

    Args:
        num_threads: threads in all; 1 runs every task in the caller.
        half: whether convolutions multiply in bfloat16, where the CPU can (`native.Kernels`).
    """

    def __init__(self, num_threads: int, half: bool = False):
        if num_threads < 1:
            raise ValueError(f"num_threads: expected at least 1, got {num_threads}")
        self.num_threads, self.half = num_threads, half
        self._jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._helpers = [
            threading.Thread(target=_help, args=(self._jobs,), name=f"sparse-{i}", daemon=True)
            for i in range(1, num_threads)
        ]
        for helper in self._helpers:
            helper.start()

    def run(self, task: Callable[[int], None], count: int) -> None:
        """Call task(0) .. task(count - 1), each once, in any order and side by side; return when
        all are done.

        Raises:
            whatever a task raised first; the tasks not yet begun are left out.
        """
        if self.num_threads == 1 or count <= 1:
            for number in range(count):
                task(number)
            return
        job = _Job(task, count)
        for _ in range(min(self.num_threads, count) - 1):
            self._jobs.put(job)
        job.finish()

    def start(self, task: Callable[[int], None], count: int) -> Any:
        """Let the other threads begin with task(0) .. task(count - 1), and return at once.

        Returns:
            something with `finish()`, which must be called: it does the tasks that nobody has
            begun, waits for the others, and raises what a task raised first.
        """
        job = _Job(task, count)
        for _ in range(min(self.num_threads - 1, count)):
            self._jobs.put(job)
        return job

    def close(self) -> None:
        """End the threads. Idempotent; `run` must not be called any more."""
        for _ in self._helpers:
            self._jobs.put(None)
        for helper in self._helpers:
            helper.join()
        self._helpers = []


class _Job:
    """Tasks of one call of `Workers.run`, taken one by one by whichever thread is free."""

    def __init__(self, task: Callable[[int], None], count: int):
        self._task, self._count = task, count
        self._next = itertools.count()  # next() is atomic
        self._lock = threading.Lock()
        self._unfinished = count
        self._all_done = threading.Event()
        if count == 0:
            self._all_done.set()
        self._error: BaseException | None = None

    def work(self) -> None:
        """Do tasks until none is left to begin."""
        while (number := next(self._next)) < self._count:
            try:
                if self._error is None:
                    self._task(number)
            except BaseException as error:  # handed to the caller by `wait`, whatever it is
                self._error = self._error or error
            with self._lock:
                self._unfinished -= 1
                last = self._unfinished == 0
            if last:
                self._all_done.set()

    def finish(self) -> None:
        """Do what nobody has begun, and wait for the rest."""
        self.work()
        self.wait()

    def wait(self) -> None:
        """Until every task is done; a helper that comes too late to find one is not waited for."""
        self._all_done.wait()
        if self._error is not None:
            raise self._error


def _help(jobs: Any) -> None:
    torch.set_num_threads(1)
    with torch.inference_mode():
        while (job := jobs.get()) is not None:
            job.work()
            del job  # else the last input stays alive until the next one


_callers_lock = threading.Lock()
_callers = 0
_threads_before = 1


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Inside, torch runs every operation in the thread that calls it. Callers may overlap; the
    last one out restores the number of threads.
    """
    global _callers, _threads_before
    with _callers_lock:
        if _callers == 0:
            _threads_before = torch.get_num_threads()
        _callers += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _callers_lock:
            _callers -= 1
            if _callers == 0:
                torch.set_num_threads(_threads_before)
