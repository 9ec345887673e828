"""Threads that share tasks."""

import threading

import pytest
import torch

from cmdfusion_ros.sparse.workers import Workers, one_torch_thread


@pytest.fixture(params=[1, 3])
def workers(request):
    workers = Workers(request.param)
    yield workers
    workers.close()


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_every_task_runs_once(workers, count):
    done = []
    workers.run(done.append, count)
    assert sorted(done) == list(range(count))


@pytest.mark.parametrize("count", [0, 1, 5])
def test_tasks_begun_in_the_background_are_done_when_finished(workers, count):
    done, other = [], []
    job = workers.start(done.append, count)
    workers.run(other.append, 4)
    job.finish()
    assert sorted(done) == list(range(count)) and sorted(other) == [0, 1, 2, 3]


def test_an_error_in_the_background_is_raised_when_finished(workers):
    with pytest.raises(ZeroDivisionError):
        workers.start(lambda number: 1 // number, 2).finish()


def test_the_background_goes_on_while_the_caller_works():
    workers, meeting = Workers(2), threading.Barrier(2, timeout=10)
    job = workers.start(lambda number: meeting.wait(), 1)
    meeting.wait()  # raises BrokenBarrierError unless the other thread is there too
    job.finish()
    workers.close()


def test_tasks_really_run_side_by_side():
    workers, meeting = Workers(2), threading.Barrier(2, timeout=10)
    # raises BrokenBarrierError unless both are there at once
    workers.run(lambda number: meeting.wait(), 2)
    workers.close()


def test_an_error_in_a_task_reaches_the_caller_and_the_threads_live_on(workers):
    def fail(number):
        raise ValueError(f"task {number}")

    with pytest.raises(ValueError, match="task"):
        workers.run(fail, 8)
    done = []
    workers.run(done.append, 8)
    assert len(done) == 8


def test_calls_from_several_threads_each_get_their_own_tasks_done(workers):
    results = {}

    def call(caller):
        mine = []
        workers.run(mine.append, 20)
        results[caller] = sorted(mine)

    callers = [threading.Thread(target=call, args=(caller,)) for caller in range(4)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert results == {caller: list(range(20)) for caller in range(4)}


def test_no_thread_at_all_is_an_error():
    with pytest.raises(ValueError, match="num_threads: expected at least 1, got 0"):
        Workers(0)


def test_the_number_of_torch_threads_comes_back_when_the_last_caller_leaves():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    with one_torch_thread():
        assert torch.get_num_threads() == 1
        with one_torch_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
    torch.set_num_threads(before)
