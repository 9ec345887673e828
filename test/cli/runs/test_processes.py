"""Child processes of a run: their events arrive, their failures are told with their last words,
and none outlives the run.
"""

import os
import signal
import time

import pytest

from cmdfusion_ros.cli.runs.processes import (
    ProcessError,
    ProcessGroup,
    find_fastdds_profile,
    ros_environment,
)

SPEAKER = """
import json, sys, time
print(json.dumps({"event": "hello", "words": sys.argv[1:]}), flush=True)
print("not an event", flush=True)
time.sleep(60)
"""
FAILURE = """
import sys
print("the reason", file=sys.stderr)
sys.exit(3)
"""
STUBBORN = """
import json, signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
print(json.dumps({"event": "hello"}), flush=True)
time.sleep(60)
"""


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Three modules to run: speaker, failure, stubborn."""
    for name, text in (("speaker", SPEAKER), ("failure", FAILURE), ("stubborn", STUBBORN)):
        (tmp_path / f"{name}.py").write_text(text)
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_events_arrive_with_the_name_of_their_process_and_other_lines_go_to_the_log(
    tmp_path, modules
):
    with ProcessGroup(tmp_path, modules) as group:
        group.start("voice", "speaker", "a", 2, listen=True)
        name, event = group.wait_for(lambda name, event: event["event"] == "hello", 20, "a word")
        assert name == "voice" and event["words"] == ["a", "2"]
        pid = group._processes["voice"].pid
        end = time.monotonic() + 10
        while "not an event" not in group.log_tail("voice") and time.monotonic() < end:
            os.sched_yield()
        assert "not an event" in group.log_tail("voice")
    assert not is_alive(pid)


def test_a_failure_is_told_with_exit_code_and_last_words(tmp_path, modules):
    with ProcessGroup(tmp_path, modules) as group:
        group.start("worker", "failure", listen=True)
        with pytest.raises(
            ProcessError, match="the worker ended with exit code 3; its last words .*\nthe reason"
        ):
            group.wait_for(lambda name, event: False, 20, "anything")


def test_what_does_not_happen_in_time_is_named(tmp_path, modules):
    with ProcessGroup(tmp_path, modules) as group:
        group.start("voice", "speaker", listen=True)
        with pytest.raises(ProcessError, match="the miracle did not happen within 0.3 s"):
            group.wait_for(lambda name, event: False, 0.3, "the miracle")


def test_a_process_that_ignores_ctrl_c_is_ended_all_the_same(tmp_path, modules, monkeypatch):
    monkeypatch.setattr("cmdfusion_ros.cli.runs.processes._GRACE", 0.3)
    with ProcessGroup(tmp_path, modules) as group:
        group.start("mule", "stubborn", listen=True)
        group.wait_for(lambda name, event: True, 20, "a word")
        assert group.stop("mule") == -signal.SIGTERM
        group.check()  # how it ended is no failure of the run


def test_an_error_in_the_run_ends_every_process(tmp_path, modules):
    with (
        pytest.raises(RuntimeError, match="the run broke"),
        ProcessGroup(tmp_path, modules) as group,
    ):
        group.start("one", "speaker", listen=True)
        group.start("two", "speaker")
        pids = [process.pid for process in group._processes.values()]
        raise RuntimeError("the run broke")
    assert not any(is_alive(pid) for pid in pids)


@pytest.mark.parametrize(
    "distro, name",
    [("humble", "FASTRTPS"), ("jazzy", "FASTRTPS"), ("kilted", "FASTDDS"), ("", "FASTDDS")],
)
def test_the_profile_is_named_as_the_fast_dds_of_the_distribution_reads_it(
    monkeypatch, distro, name
):
    monkeypatch.setenv("ROS_DISTRO", distro)
    for other in ("FASTRTPS", "FASTDDS"):
        monkeypatch.delenv(f"{other}_DEFAULT_PROFILES_FILE", raising=False)
    environment = ros_environment(7)
    assert {key for key in environment if key.endswith("_DEFAULT_PROFILES_FILE")} == {
        f"{name}_DEFAULT_PROFILES_FILE"
    }
    assert ("ROS_LOCALHOST_ONLY" in environment) == (distro == "humble")


def test_the_environment_keeps_to_this_machine_and_a_users_profile_stays(monkeypatch):
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    monkeypatch.delenv("FASTDDS_DEFAULT_PROFILES_FILE", raising=False)
    environment = ros_environment(7)
    assert (
        environment["ROS_DOMAIN_ID"] == "7"
        and environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    )
    assert environment["FASTDDS_DEFAULT_PROFILES_FILE"] == str(find_fastdds_profile())
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "/robot/profile.xml")
    assert ros_environment(7)["FASTDDS_DEFAULT_PROFILES_FILE"] == "/robot/profile.xml"


def test_a_process_that_never_stops_talking_does_not_keep_the_others_from_being_checked(
    tmp_path, modules
):
    (tmp_path / "chatter.py").write_text(
        'import time\nwhile True:\n    print(\'{"event": "word"}\', flush=True)\n    '
        "time.sleep(0.005)\n"
    )
    with ProcessGroup(tmp_path, modules) as group:
        group.start("talker", "chatter", listen=True)
        group.wait_for(lambda name, event: True, 20, "a word")
        group.start("worker", "failure")
        with pytest.raises(ProcessError, match="the worker ended with exit code 3"):
            while True:
                list(group.take(0.1))
