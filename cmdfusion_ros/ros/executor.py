"""The executor of the node, one turn of it that survives what rclpy raises, and its end."""

import os
import sys
import threading
import time

import rclpy
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor

from cmdfusion_ros.config import SettingsError
from cmdfusion_ros.labelling.worker import WORKER_THREAD
from cmdfusion_ros.ros.guard import Guard
from cmdfusion_ros.ros.reports import Reports

_SPIN = 0.5  # seconds after which a spin that nothing woke looks whether it is time to end
_DEAD = 30.0  # seconds of errors without one of the node's own timers: it turns no more
_BREATH = 0.01  # seconds after a spin that raised, so that one that always does takes no whole core


def make_executor(name: str) -> Executor:
    """The rclpy executor called `name`; auto takes the events executor where this rclpy has it:
    a message costs it a third (0.25 ms against 0.76). Raises SettingsError where `name` is
    events and this rclpy has none.
    """
    if name != "single":
        try:
            from rclpy.experimental.events_executor import EventsExecutor

            return EventsExecutor()
        except ImportError:
            if name == "events":
                raise SettingsError(
                    "executor: this rclpy has no EventsExecutor; use auto or single"
                ) from None
    return SingleThreadedExecutor()


def spin_once(executor: Executor, guard: Guard, reports: Reports) -> None:
    """Let the executor run what is due. Ours is guarded; what rclpy itself raises (a message that
    it cannot deserialise, a service call with impossible values) must not end the node either,
    unless half a minute brought nothing else.
    """
    try:
        # not spin(): that of Kilted's events executor never runs a callback
        executor.spin_once(timeout_sec=_SPIN)
    except ExternalShutdownException:
        raise
    except Exception as error:
        if not rclpy.ok():
            # rclpy fails with an RCLError where a signal shut the context while it built a wait
            # set: that is an ordinary end
            return
        if time.monotonic() - reports.last_look > _DEAD:
            raise
        guard.survived("executor", error)
        time.sleep(_BREATH)


def end_process(code: int) -> None:
    """End here and now where a cloud is still at work that the worker gave up: its thread would
    come back from compiled code while Python ends, which aborts the process (SIGABRT). Else do
    nothing.
    """
    if any(thread.name == WORKER_THREAD for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
