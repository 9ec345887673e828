"""One thread that does the slow work, and the inbox in front of it. Rules R6, R7, R15 and R16 of
docs/synchroniser.md.
"""

import threading
import traceback
from collections import Counter, deque
from dataclasses import dataclass

from cmdfusion_ros.pairing.settings import to_ns

_BACKLOG = 256  # clouds; about a gigabyte of 120,000 points with six JPEG images


@dataclass(frozen=True)
class WorkerReport:
    """What became of the clouds. offered = done + waiting + running + the sum of `dropped`.

    Attributes:
        offered, done: clouds given to `offer`, and those whose result was delivered.
        waiting, running: clouds in the inbox (or, in `offer`, on the way into it), and 1 while one
            is worked on.
        dropped: {"busy": superseded by a newer one, "stale": too old when their turn came, "reset":
            of an older epoch, "failed": the job or the delivery raised, "stopped": left when the
            worker stopped}.
    """

    offered: int
    done: int
    waiting: int
    running: int
    dropped: dict


class Worker:
    """Runs a job on each cloud it is offered, one at a time, in order, on a thread of its own.

    `deliver` and `on_error` are called on that thread, with no lock held. With overload "queue",
    `offer` blocks while 256 clouds wait: neither they nor the job may wait for the thread that
    offers.

    Args:
        job: PairedCloud -> result. What it raises costs that cloud only.
        deliver: called with (paired, result), only where the epoch is still the worker's.
        on_error: called with (paired, exception) after a job or a delivery has raised. What it
            raises itself goes to stderr.
        settings: SyncSettings: overload and max_cloud_age.
        now_ros: () -> int ns, for the age of clouds.
    """

    def __init__(self, job, deliver, on_error, settings, now_ros):
        self._job = job
        self._deliver = deliver
        self._on_error = on_error
        self._settings = settings
        self._now_ros = now_ros
        self._changed = threading.Condition()
        self._inbox = deque()
        self._counts = Counter()
        self._running = 0
        self._epoch = 0
        self._finishing = False
        self._thread = threading.Thread(target=self._run, name="cmdfusion-worker", daemon=True)

    def start(self):
        """Begin to work. A worker starts once."""
        self._thread.start()

    def offer(self, paired):
        """Hand over a PairedCloud. With overload "latest" those still waiting are dropped for it
        (busy); a stopped worker drops it (stopped).
        """
        with self._changed:
            self._counts["offered"] += 1
            if self._settings.overload == "queue":
                self._changed.wait_for(lambda: len(self._inbox) < _BACKLOG or self._finishing)
            if self._finishing or paired.epoch < self._epoch:
                self._counts["stopped" if self._finishing else "reset"] += 1
                return
            if self._settings.overload == "latest":
                self._drop_inbox("busy")
            self._inbox.append(paired)
            self._changed.notify_all()

    def start_epoch(self, epoch):
        """A new time line began: clouds of older epochs are dropped, the result of the one being
        worked on too (reset).
        """
        with self._changed:
            self._epoch = epoch
            self._drop_inbox("reset", lambda paired: paired.epoch < epoch)
            self._changed.notify_all()

    def update_settings(self, settings):
        """Take over SyncSettings; `overload` from the next cloud on."""
        with self._changed:
            self._settings = settings

    def stop(self, finish=False, timeout_s=10.0):
        """End the thread after the cloud it works on, or with `finish` after all that wait. Returns
        whether it ended within `timeout_s`.

        A second call does no harm. Must not be called from the worker's own thread.
        """
        with self._changed:
            self._finishing = True
            if not finish:
                self._drop_inbox("stopped")
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def report(self):
        """WorkerReport."""
        with self._changed:
            dropped = {
                reason: self._counts[reason]
                for reason in ("busy", "stale", "reset", "failed", "stopped")
            }
            waiting = (
                self._counts["offered"]
                - self._counts["done"]
                - self._running
                - sum(dropped.values())
            )
            return WorkerReport(
                self._counts["offered"], self._counts["done"], waiting, self._running, dropped
            )

    def _drop_inbox(self, reason, condition=lambda paired: True):
        kept = [paired for paired in self._inbox if not condition(paired)]
        self._counts[reason] += len(self._inbox) - len(kept)
        self._inbox = deque(kept)

    def _run(self):
        while (paired := self._next()) is not None:
            outcome = self._work(paired)
            with self._changed:
                self._running = 0
                self._counts[outcome] += 1
                self._changed.notify_all()

    def _next(self):
        """The next cloud, or None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._inbox or self._finishing)
            if not self._inbox:
                return None
            self._running = 1
            self._changed.notify_all()
            return self._inbox.popleft()

    def _work(self, paired):
        """Do the job on one cloud and deliver the result; the name under which the cloud is
        counted.
        """
        max_age = to_ns(self._settings.max_cloud_age)
        if max_age and self._now_ros() - paired.stamp > max_age:
            return "stale"
        try:
            result = self._job(paired)
            if paired.epoch < self._epoch:
                return "reset"
            self._deliver(paired, result)
            return "done"
        except Exception as error:
            self._report_error(paired, error)
            return "failed"

    def _report_error(self, paired, error):
        try:
            self._on_error(paired, error)
        except Exception:  # the thread must live on; the cloud is counted as failed already
            traceback.print_exc()
