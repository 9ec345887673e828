"""Stages of an inference: nothing is counted twice, nothing is clocked unasked."""

import threading
import time

import pytest

from cmdfusion_ros.sparse.stages import StageClock, stage


def spin(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_stage_within_another_counts_for_the_inner_one_alone():
    with StageClock() as clock:
        with stage("outer"):
            spin(0.02)
            with stage("inner"):
                spin(0.04)
            spin(0.01)
        with stage("inner"):
            spin(0.02)
    assert list(clock.seconds) == ["outer", "inner"]
    for name, spent in (("outer", 0.03), ("inner", 0.06)):
        wall, cpu = clock.seconds[name]
        assert spent <= cpu < spent + 0.01 and wall >= cpu - 0.001


def test_without_a_clock_and_in_other_threads_nothing_is_timed():
    with stage("before"):
        pass

    def enter():
        with stage("elsewhere"):
            pass

    with StageClock() as clock:
        other = threading.Thread(target=enter)
        other.start()
        other.join()
    assert clock.seconds == {}


def test_only_one_clock_can_be_open_and_an_error_closes_its_stage():
    with StageClock() as clock:
        with pytest.raises(RuntimeError, match="a StageClock is open already"), StageClock():
            pass
        with pytest.raises(KeyError), stage("fails"):
            raise KeyError
        with stage("next"):
            pass
    assert list(clock.seconds) == ["fails", "next"]
