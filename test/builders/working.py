"""A worker, clouds for it, and jobs that a test can hold."""

import threading
from dataclasses import dataclass

from cmdfusion_ros.config import LiveSettings
from cmdfusion_ros.labelling.settings import node_settings
from cmdfusion_ros.labelling.worker import Worker

PATIENCE = 20.0  # seconds: how long a test waits for what must happen at once


@dataclass(frozen=True)
class Cloud:
    """As much of a PairedCloud as the worker looks at."""

    stamp: int
    epoch: int = 0


class Gate:
    """A job that lets the test see when it begins and say when it ends."""

    def __init__(self):
        self.entered = threading.Semaphore(0)
        self.leave = threading.Semaphore(0)

    def __call__(self, paired):
        self.entered.release()
        assert self.leave.acquire(timeout=PATIENCE)
        return paired.stamp * 10


class Outcome:
    """What a worker delivered, and its errors."""

    def __init__(self):
        self.results, self.errors = [], []

    def deliver(self, paired, result):
        self.results.append((paired.stamp, result))

    def on_error(self, paired, error):
        self.errors.append((paired.stamp, str(error)))


def in_force(**sync):
    return LiveSettings(node_settings({f"sync.{name}": value for name, value in sync.items()}))


def make_worker(job, outcome, now_ros=lambda: 0, **sync):
    worker = Worker(job, outcome.deliver, outcome.on_error, in_force(**sync), now_ros)
    worker.start()
    return worker


def held_worker(**sync):
    """A worker that is busy with cloud 0."""
    gate, outcome = Gate(), Outcome()
    worker = make_worker(gate, outcome, **sync)
    worker.offer(Cloud(0))
    assert gate.entered.acquire(timeout=PATIENCE)
    return worker, gate, outcome


def watched_worker(job, outcome, now, settings, **options):
    """A Worker whose clock is `now[0]`."""
    return Worker(
        job,
        outcome.deliver,
        outcome.on_error,
        settings,
        lambda: 0,
        now=lambda: now[0],
        **options,
    )


def assert_conserved(report):
    assert report.offered == report.done + report.waiting + report.running + sum(
        report.dropped.values()
    )
