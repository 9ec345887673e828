"""The worker: overload, age, epochs, errors, stopping. Threads are met at events, never by
sleeping. Test 19 of the synchroniser's list is here.
"""

import threading

import pytest
from builders.working import (
    PATIENCE,
    Cloud,
    Outcome,
    assert_conserved,
    held_worker,
    in_force,
    make_worker,
)

from cmdfusion_ros.labelling.settings import node_settings
from cmdfusion_ros.labelling.worker import QUEUE_BYTES, Worker


def test_results_are_delivered_in_order():
    outcome = Outcome()
    worker = make_worker(lambda paired: paired.stamp + 1, outcome, overload="queue")
    for stamp in range(50):
        worker.offer(Cloud(stamp))
    assert worker.stop(finish=True)
    assert outcome.results == [(stamp, stamp + 1) for stamp in range(50)]
    assert worker.report().done == 50


def test_18_while_busy_the_newest_cloud_is_kept_and_the_others_are_counted():
    worker, gate, outcome = held_worker(overload="latest")
    for stamp in range(1, 11):
        worker.offer(Cloud(stamp))
    report = worker.report()
    assert (report.waiting, report.running, report.dropped["busy"]) == (1, 1, 9)
    assert_conserved(report)
    gate.leave.release(2)
    assert worker.stop(finish=True)
    assert [stamp for stamp, _ in outcome.results] == [0, 10]
    assert_conserved(worker.report())


def test_of_clouds_that_come_together_an_idle_worker_labels_the_first_and_the_newest():
    outcome = Outcome()
    worker = make_worker(lambda paired: paired.stamp, outcome, overload="latest")
    with worker._changed:  # its thread has had no time to take the first
        for stamp in range(4):
            worker.offer(Cloud(stamp))
    assert worker.stop(finish=True)
    assert [stamp for stamp, _ in outcome.results] == [0, 3]
    assert worker.report().dropped["busy"] == 2
    assert_conserved(worker.report())


def test_with_queue_nothing_is_dropped_and_offering_never_waits():
    worker, gate, outcome = held_worker(overload="queue")
    for stamp in range(1, 2001):
        worker.offer(Cloud(stamp), 1)
    report = worker.report()
    assert report.waiting == 2000 and sum(report.dropped.values()) == 0
    assert report.queue_fill == 2000 / QUEUE_BYTES
    gate.leave.release(2001)
    assert worker.stop(finish=True)
    assert [stamp for stamp, _ in outcome.results] == list(range(2001))
    assert worker.report().queue_fill == 0


def test_what_comes_while_the_queue_is_full_is_counted_and_what_waits_stays():
    worker, gate, outcome = held_worker(overload="queue")
    half = QUEUE_BYTES // 2
    for stamp, size in ((1, half), (2, half), (3, 1), (4, half)):
        worker.offer(Cloud(stamp), size)
    report = worker.report()
    assert report.dropped["queue_full"] == 2 and report.waiting == 2 and report.queue_fill == 1
    assert_conserved(report)
    gate.leave.release()
    assert gate.entered.acquire(timeout=PATIENCE)  # cloud 1 is at work: there is room again
    worker.offer(Cloud(5), 1)
    gate.leave.release(3)
    assert worker.stop(finish=True)
    assert [stamp for stamp, _ in outcome.results] == [0, 1, 2, 5]
    assert_conserved(worker.report())


def test_a_cloud_larger_than_the_queue_waits_where_it_is_alone():
    worker, gate, outcome = held_worker(overload="queue")
    worker.offer(Cloud(1), QUEUE_BYTES + 1)
    worker.offer(Cloud(2), 1)
    assert worker.report().dropped["queue_full"] == 1
    gate.leave.release(2)
    assert worker.stop(finish=True) and [stamp for stamp, _ in outcome.results] == [0, 1]


def test_a_cloud_of_an_older_epoch_takes_nobodys_place():
    worker, gate, outcome = held_worker(overload="latest")
    worker.start_epoch(1)
    worker.offer(Cloud(1, epoch=1))
    worker.offer(Cloud(2, epoch=0))
    gate.leave.release(2)
    assert worker.stop(finish=True) and outcome.results == [(1, 10)]
    assert worker.report().dropped["reset"] == 2 and worker.report().dropped["busy"] == 0


def test_clouds_too_old_when_their_turn_comes_are_stale():
    now = [0]
    outcome = Outcome()
    worker = make_worker(
        lambda paired: "labels",
        outcome,
        now_ros=lambda: now[0],
        max_cloud_age=0.5,
        overload="queue",
    )
    now[0] = 1_000_000_000
    worker.offer(Cloud(400_000_000))
    worker.offer(Cloud(600_000_000))
    assert worker.stop(finish=True)
    assert outcome.results == [(600_000_000, "labels")] and worker.report().dropped["stale"] == 1


def test_the_age_limit_may_change_at_run_time():
    outcome, live = Outcome(), in_force()
    worker = Worker(lambda _: "labels", outcome.deliver, outcome.on_error, live, lambda: 10**10)
    worker.start()
    live.current = node_settings({"sync.max_cloud_age": 1.0})
    worker.offer(Cloud(1))
    assert worker.stop(finish=True)
    assert worker.report().dropped["stale"] == 1


def test_results_and_clouds_of_an_older_epoch_are_discarded():
    worker, gate, outcome = held_worker(overload="queue")
    worker.offer(Cloud(1, epoch=0))
    worker.start_epoch(1)
    worker.offer(Cloud(2, epoch=0))
    worker.offer(Cloud(3, epoch=1))
    gate.leave.release(2)
    assert worker.stop(finish=True)
    assert outcome.results == [(3, 30)]
    report = worker.report()
    assert report.dropped["reset"] == 3
    assert_conserved(report)


def test_19_after_an_exception_in_the_job_the_next_cloud_is_fine():
    outcome = Outcome()

    def job(paired):
        if paired.stamp == 1:
            raise RuntimeError("out of memory")
        return "labels"

    worker = make_worker(job, outcome, overload="queue")
    for stamp in range(3):
        worker.offer(Cloud(stamp))
    assert worker.stop(finish=True)
    assert outcome.results == [(0, "labels"), (2, "labels")]
    assert outcome.errors == [(1, "out of memory")]
    assert worker.report().dropped["failed"] == 1


def test_19_exceptions_in_deliver_and_in_on_error_do_not_end_the_thread(capsys):
    delivered = []

    def deliver(paired, result):
        delivered.append(paired.stamp)
        if paired.stamp == 0:
            raise ValueError("publisher broke")

    def on_error(paired, error):
        raise KeyError("logger broke")

    worker = Worker(lambda paired: None, deliver, on_error, in_force(overload="queue"), lambda: 0)
    worker.start()
    worker.offer(Cloud(0))
    worker.offer(Cloud(1))
    assert worker.stop(finish=True)
    assert delivered == [0, 1] and worker.report().dropped["failed"] == 1
    assert "logger broke" in capsys.readouterr().err


def test_19_no_lock_is_held_while_callbacks_run():
    """Each of them may look at the worker or offer to it."""
    worker = None
    seen, failed = [], threading.Event()

    def job(paired):
        seen.append(worker.report().running)
        if paired.stamp == 1:
            raise RuntimeError("broke")

    def deliver(paired, result):
        worker.offer(Cloud(paired.stamp + 1))

    def on_error(paired, error):
        seen.append(worker.report().running)
        failed.set()

    worker = Worker(job, deliver, on_error, in_force(overload="queue"), lambda: 0)
    worker.start()
    worker.offer(Cloud(0))
    assert failed.wait(PATIENCE) and worker.stop()
    assert seen == [1, 1, 1]


def test_stopping_drops_what_waits_by_name_and_is_harmless_twice():
    worker, gate, outcome = held_worker()
    worker.offer(Cloud(1))
    gate.leave.release()
    assert worker.stop() and worker.stop()
    worker.offer(Cloud(2))
    assert worker.report().dropped["stopped"] == 2 and [stamp for stamp, _ in outcome.results] == [
        0
    ]


def test_a_worker_that_never_started_can_be_stopped():
    assert Worker(print, print, print, in_force(), lambda: 0).stop()


@pytest.mark.parametrize("overload", ["latest", "queue"])
def test_under_fire_from_several_threads_every_cloud_is_accounted_for(overload):
    outcome = Outcome()
    worker = make_worker(lambda paired: None, outcome, overload=overload)
    threads = [
        threading.Thread(target=lambda: [worker.offer(Cloud(stamp)) for stamp in range(200)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert worker.stop(finish=True)
    report = worker.report()
    assert report.offered == 800 and report.waiting == report.running == 0
    assert_conserved(report)
    assert report.done == len(outcome.results) and (overload == "latest" or report.done == 800)


# ---- jobs that never end
