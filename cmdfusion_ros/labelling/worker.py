"""One thread that does the slow work, and the inbox in front of it. Rules R6, R7, R15, R16 and R17
of docs/synchroniser.md.
"""

import sys
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from cmdfusion_ros.config import LiveSettings
from cmdfusion_ros.labelling.settings import NodeSettings
from cmdfusion_ros.pairing.paired_cloud import PairedCloud
from cmdfusion_ros.pairing.settings import to_ns

WORKER_THREAD = "cmdfusion-worker"  # name of its threads
QUEUE_BYTES = 2 << 30  # of waiting messages; about 600 clouds of 120,000 points with one raw image
_LONGER = 5  # times the longest job so far: what takes so much longer than ever hangs
_MOST_LOST = 4  # threads given up to jobs that never end, before the worker says it is broken


@dataclass(frozen=True)
class WorkerReport:
    """What became of the clouds. offered = done + waiting + running + the sum of `dropped`.

    Attributes:
        offered, done: clouds given to `offer`, and those whose result was delivered.
        waiting, running: clouds in the inbox, and 1 while one is worked on.
        dropped: {"busy": superseded by a newer one, "queue_full": came while 2 GiB of messages
            waited, "stale": too old when their turn came, "reset": of an older epoch, "failed":
            the job or the delivery raised, "stuck": given up, "stopped": left when the worker
            stopped}.
        running_s: seconds for which the running one has been worked on.
        lost_threads: of jobs that were given up and have not ended.
        is_broken: so many of them that no further job is given up.
        queue_fill: share of the 2 GiB that is taken.
    """

    offered: int
    done: int
    waiting: int
    running: int
    dropped: dict[str, int]
    running_s: float = 0.0
    lost_threads: int = 0
    is_broken: bool = False
    queue_fill: float = 0.0


class _Waiting(NamedTuple):
    """A cloud in the inbox and the bytes that it keeps from being freed."""

    paired: PairedCloud
    num_bytes: int


class _Thread:
    """A thread of the worker and the job it is at.

    Attributes:
        since: steady seconds at which its job began, None between jobs.
        given_up: whether its job took too long: another thread has taken its place.
    """

    def __init__(self, run: Callable[["_Thread"], None]) -> None:
        self.since: float | None = None
        self.given_up = False
        self.settled = False  # its cloud's end is its own: it delivers, or says why it failed
        self.thread = threading.Thread(target=run, args=(self,), name=WORKER_THREAD, daemon=True)

    def place(self) -> str:
        """The line of code that it is at, "file:line in function"; "" once it has ended."""
        frame = sys._current_frames().get(self.thread.ident or 0)
        if frame is None:
            return ""
        return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


class Worker:
    """Runs a job on each cloud it is offered, one at a time, in order, on a thread of its own.

    `deliver` and `on_error` are called on that thread, with no lock held. `offer` never waits: the
    thread that offers has heartbeats and services to see to.

    Args:
        job: PairedCloud -> result. What it raises costs that cloud only.
        deliver: called with (paired, result), only where the epoch is still the worker's.
        on_error: called with (paired, exception) after a job or a delivery has raised. What it
            raises itself goes to stderr.
        settings: of these sync.overload, max_cloud_age and max_job_time; overload from the next
            cloud on.
        now_ros: () -> int ns, for the age of clouds. now: steady seconds.
        on_stuck: called by `watch` with (paired, seconds, the line of code the job is at) when it
            gives a job up.
    """

    def __init__(
        self,
        job: Callable[[PairedCloud], Any],
        deliver: Callable[[PairedCloud, Any], None],
        on_error: Callable[[PairedCloud, Exception], None],
        settings: LiveSettings[NodeSettings],
        now_ros: Callable[[], int],
        now: Callable[[], float] = time.monotonic,
        on_stuck: Callable[[PairedCloud, float, str], None] | None = None,
    ) -> None:
        self._job = job
        self._deliver = deliver
        self._on_error = on_error
        self._settings = settings
        self._now_ros = now_ros
        self._now = now
        self._on_stuck = on_stuck
        self._changed = threading.Condition()
        self._inbox: deque[_Waiting] = deque()
        self._inbox_bytes = 0
        self._counts: Counter[str] = Counter()
        self._running: PairedCloud | None = None  # the cloud at work
        self._longest = 0.0  # seconds of the longest job that ended
        self._lost: list[_Thread] = []  # _Threads that were given up
        self._epoch = 0
        self._finishing = False
        self._current = _Thread(self._run)

    def start(self) -> None:
        """Begin to work. A worker starts once."""
        self._current.thread.start()

    def watch(self) -> None:
        """Give up a job that has taken longer than max_job_time and five times the longest so far:
        its cloud is counted as stuck, its result will be thrown away, and a new thread goes on with
        the next cloud. Call it a few times a second; nothing can end a thread from outside, so
        after four that never ended the worker `is_broken`.
        """
        with self._changed:
            limit, stuck = self._settings.current.sync.max_job_time, self._running
            seconds = self._running_s()
            if not limit or stuck is None or seconds <= max(limit, _LONGER * self._longest):
                return
            if self._current.settled or self._is_broken():
                return
            where = self._current.place()
            self._give_up()
            self._current = _Thread(self._run)
            self._current.thread.start()
            self._changed.notify_all()
        if self._on_stuck:
            self._on_stuck(stuck, seconds, where)

    def _give_up(self) -> None:
        """Count the running cloud as stuck; what its thread still does is thrown away."""
        self._current.given_up = True
        self._lost.append(self._current)
        self._running = None
        self._counts["stuck"] += 1

    def _running_s(self) -> float:
        since = self._current.since
        return 0.0 if self._running is None or since is None else self._now() - since

    def _is_broken(self) -> bool:
        self._lost = [lost for lost in self._lost if lost.thread.is_alive()]
        return len(self._lost) >= _MOST_LOST

    def offer(self, paired: PairedCloud, num_bytes: int = 0) -> None:
        """Hand over a cloud that keeps `num_bytes` from being freed; returns at once. With overload
        "latest" those still waiting are dropped for it (busy). With "queue" it waits its turn; what
        comes while QUEUE_BYTES wait is dropped (queue_full), so that those before it stay without a
        gap. A stopped worker drops it (stopped).
        """
        with self._changed:
            self._counts["offered"] += 1
            if reason := self._reason_to_refuse(paired, num_bytes):
                self._counts[reason] += 1
                return
            if self._settings.current.sync.overload == "latest":
                # of clouds that come together an idle thread has as good as taken the first
                taken = self._inbox[0].paired if self._inbox and not self._running else None
                self._drop_inbox("busy", lambda paired: paired is not taken)
            self._inbox.append(_Waiting(paired, num_bytes))
            self._inbox_bytes += num_bytes
            self._changed.notify_all()

    def _reason_to_refuse(self, paired: PairedCloud, num_bytes: int) -> str:
        """Why a cloud cannot wait; "" where it can. One alone always can."""
        if self._finishing:
            return "stopped"
        if paired.epoch < self._epoch:
            return "reset"
        waits_for_others = self._inbox and self._settings.current.sync.overload == "queue"
        is_full = waits_for_others and self._inbox_bytes + num_bytes > QUEUE_BYTES
        return "queue_full" if is_full else ""

    def start_epoch(self, epoch: int) -> None:
        """A new time line began: clouds of older epochs are dropped, the result of the one being
        worked on too (reset).
        """
        with self._changed:
            self._epoch = epoch
            self._drop_inbox("reset", lambda paired: paired.epoch < epoch)
            self._changed.notify_all()

    def stop(self, finish: bool = False, timeout_s: float = 10.0) -> bool:
        """End the thread after the cloud it works on, or with `finish` after all that wait. Returns
        whether it ended within `timeout_s`; if not, its cloud is stuck.

        A second call does no harm. Must not be called from the worker's own thread.
        """
        with self._changed:
            self._finishing = True
            if not finish:
                self._drop_inbox("stopped")
            self._changed.notify_all()
        thread = self._current.thread
        if thread.ident is not None:
            thread.join(timeout_s)
        with self._changed:
            if thread.is_alive() and self._running is not None and not self._current.settled:
                self._give_up()
        return not thread.is_alive()

    def report(self) -> WorkerReport:
        """WorkerReport."""
        with self._changed:
            dropped = {
                reason: self._counts[reason]
                for reason in (
                    "busy",
                    "queue_full",
                    "stale",
                    "reset",
                    "failed",
                    "stuck",
                    "stopped",
                )  # fmt: skip
            }
            running = int(self._running is not None)
            waiting = (
                self._counts["offered"] - self._counts["done"] - running - sum(dropped.values())
            )
            return WorkerReport(
                self._counts["offered"],
                self._counts["done"],
                waiting,
                running,
                dropped,
                self._running_s(),
                sum(lost.thread.is_alive() for lost in self._lost),
                self._is_broken(),
                self._inbox_bytes / QUEUE_BYTES,
            )

    def _drop_inbox(
        self, reason: str, condition: Callable[[PairedCloud], bool] = lambda paired: True
    ) -> None:
        kept = [waiting for waiting in self._inbox if not condition(waiting.paired)]
        self._counts[reason] += len(self._inbox) - len(kept)
        self._inbox = deque(kept)
        self._inbox_bytes = sum(waiting.num_bytes for waiting in kept)

    def _run(self, mine: _Thread) -> None:
        while (paired := self._next(mine)) is not None:
            outcome = self._work(paired, mine)
            with self._changed:
                if mine.given_up:  # counted as stuck already
                    return
                self._longest = max(self._longest, self._running_s())
                mine.since = self._running = None
                self._counts[outcome] += 1
                self._changed.notify_all()

    def _next(self, mine: _Thread) -> PairedCloud | None:
        """The next cloud, or None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._inbox or self._finishing)
            if not self._inbox:
                return None
            paired, num_bytes = self._inbox.popleft()
            self._running, mine.since, mine.settled = paired, self._now(), False
            self._inbox_bytes -= num_bytes
            return paired

    def _work(self, paired: PairedCloud, mine: _Thread) -> str:
        """Do the job on one cloud and deliver the result; the name under which the cloud is
        counted.
        """
        max_age = to_ns(self._settings.current.sync.max_cloud_age)
        if max_age and self._now_ros() - paired.stamp > max_age:
            return "stale"
        try:
            result = self._job(paired)
            if not self._settle(mine):
                return "stuck"
            if paired.epoch < self._epoch:
                return "reset"
            self._deliver(paired, result)
            return "done"
        except Exception as error:
            if self._settle(mine):
                self._report_error(paired, error)
            return "failed"

    def _settle(self, mine: _Thread) -> bool:
        """Whether the cloud is still this thread's: then no other will count it from here on."""
        with self._changed:
            mine.settled = not mine.given_up
            return mine.settled

    def _report_error(self, paired: PairedCloud, error: Exception) -> None:
        try:
            self._on_error(paired, error)
        except Exception:  # the thread must live on; the cloud is counted as failed already
            traceback.print_exc()
