"""Clouds whose job takes too long, or never ends. Threads are met at events."""

import threading

import pytest
from builders.working import (
    PATIENCE,
    Cloud,
    Gate,
    Outcome,
    assert_conserved,
    held_worker,
    in_force,
    watched_worker,
)

from cmdfusion_ros.labelling.worker import Worker


def test_a_job_over_its_time_is_given_up_by_name_and_the_next_cloud_is_labelled():
    gate, outcome, stuck, now = Gate(), Outcome(), [], [0.0]
    worker = watched_worker(
        lambda paired: gate(paired) if paired.stamp == 1 else paired.stamp * 10,
        outcome,
        now,
        in_force(overload="queue", max_job_time=20.0),
        on_stuck=lambda paired, seconds, place: stuck.append((paired.stamp, seconds, place)),
    )
    worker.start()
    worker.offer(Cloud(1))
    assert gate.entered.acquire(timeout=PATIENCE)
    worker.offer(Cloud(2))
    now[0] = 20.0
    worker.watch()
    assert not stuck  # not over its time yet
    now[0] = 21.0
    worker.watch()
    ((stamp, seconds, place),) = stuck
    assert (stamp, seconds) == (1, 21.0) and "in " in place
    assert worker.stop(finish=True) and outcome.results == [(2, 20)]
    report = worker.report()
    assert report.dropped["stuck"] == 1 and report.lost_threads == 1
    assert_conserved(report)
    gate.leave.release()  # it ends after all: nobody wants its result any more
    while worker.report().lost_threads:
        threading.Event().wait(0.01)
    assert outcome.results == [(2, 20)] and worker.report().dropped["stuck"] == 1


def test_a_slow_network_is_not_taken_for_a_stuck_one():
    """What took 10 s before may take 40 s now, whatever max_job_time says."""
    gate, outcome, now = Gate(), Outcome(), [0.0]
    worker = watched_worker(gate, outcome, now, in_force(max_job_time=20.0))
    worker.start()
    worker.offer(Cloud(1))
    assert gate.entered.acquire(timeout=PATIENCE)
    now[0] = 10.0
    gate.leave.release()
    worker.offer(Cloud(2))
    assert gate.entered.acquire(timeout=PATIENCE)
    now[0] = 50.0
    worker.watch()
    assert worker.report().running == 1 and worker.report().running_s == 40.0
    gate.leave.release()
    assert worker.stop(finish=True) and len(outcome.results) == 2


def test_after_four_jobs_that_never_end_the_worker_says_that_it_is_broken():
    gate, outcome, now = Gate(), Outcome(), [0.0]
    worker = watched_worker(gate, outcome, now, in_force(overload="queue", max_job_time=1.0))
    worker.start()
    for stamp in range(6):
        worker.offer(Cloud(stamp))
    for number in range(5):
        assert number == 5 or gate.entered.acquire(timeout=PATIENCE)
        assert not worker.report().is_broken or number == 4
        now[0] += 2.0
        worker.watch()
    report = worker.report()
    assert report.is_broken and report.lost_threads == 4 and report.dropped["stuck"] == 4
    assert_conserved(report)
    gate.leave.release(10)
    assert worker.stop(finish=True)


def test_a_queue_behind_a_stuck_job_goes_on():
    gate, outcome, now = Gate(), Outcome(), [0.0]
    worker = watched_worker(
        lambda paired: gate(paired) if paired.stamp == 0 else None,
        outcome,
        now,
        in_force(overload="queue", max_job_time=1.0),
    )
    worker.start()
    for stamp in range(258):
        worker.offer(Cloud(stamp))
    assert gate.entered.acquire(timeout=PATIENCE)
    now[0] = 5.0
    worker.watch()
    assert worker.stop(finish=True) and len(outcome.results) == 257
    assert_conserved(worker.report())
    gate.leave.release()


def test_a_job_that_outlives_the_stop_is_counted_as_stuck_and_delivers_nothing():
    worker, gate, outcome = held_worker()
    assert not worker.stop(timeout_s=0.01)
    report = worker.report()
    assert report.dropped["stuck"] == 1 and report.running == 0
    assert_conserved(report)
    gate.leave.release()
    while worker.report().lost_threads:
        threading.Event().wait(0.01)
    assert outcome.results == []


@pytest.mark.parametrize("end", ["delivers", "fails"])
@pytest.mark.parametrize("ender", ["watch", "stop"])
def test_a_cloud_whose_end_has_begun_is_not_counted_as_stuck_too(end, ender):
    """Found by `cmdfusion soak`: given up between the end of the job and its count."""
    at_its_end, go, now, ended = threading.Event(), threading.Event(), [0.0], []

    def finish(paired, what):
        at_its_end.set()
        assert go.wait(PATIENCE)
        ended.append((paired.stamp, str(what)))

    def job(paired):
        if end == "fails":
            raise ValueError("malformed")
        return paired.stamp * 10

    settings = in_force(max_job_time=20.0)
    worker = Worker(job, finish, finish, settings, lambda: 0, now=lambda: now[0])
    worker.start()
    worker.offer(Cloud(1))
    assert at_its_end.wait(PATIENCE)
    now[0] = 100.0
    worker.watch() if ender == "watch" else worker.stop(timeout_s=0.01)
    assert worker.report().dropped["stuck"] == 0 and worker.report().running == 1
    go.set()
    assert worker.stop(finish=True)
    report = worker.report()
    assert ended == [(1, "malformed" if end == "fails" else "10")]
    assert report.done + report.dropped["failed"] == 1 and report.dropped["stuck"] == 0
    assert_conserved(report)
