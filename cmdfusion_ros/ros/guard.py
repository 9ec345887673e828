"""What stands between a callback and the executor: an exception in one must cost that one call.

rclpy lets what a callback raises out of `spin_once`, which ends the process; the events executor
then also forgets the rest of the messages that came with it. So every callback of ours runs behind
a Guard.
"""

import functools
import traceback
from collections.abc import Callable
from typing import Any

from cmdfusion_ros.messages.texts import printable

_THROTTLE = 5.0  # seconds between two lines of the log
_TRACE = 8000  # letters of a traceback


class Guard:
    """Makes callbacks that raise nothing. What they would have raised is logged with its traceback
    and reported.

    Args:
        report: called with one line for each exception.
        log: rclpy logger.
    """

    def __init__(self, report: Callable[[str], None], log: Any) -> None:
        self._report, self._log = report, log

    def callback(
        self, what: str, method: Callable, answer: Callable[[], Any] | None = None
    ) -> Callable:
        """`method` with any number of arguments, for a subscription, timer or hook named `what`.
        Where it raises, `answer()` is returned, or None without one.
        """

        @functools.wraps(method)
        def guarded(*arguments: Any) -> Any:
            try:
                return method(*arguments)
            except Exception as error:
                self.survived(what, error)
                return answer() if answer else None

        return guarded

    def service(self, what: str, method: Callable) -> Callable:
        """`method` (request, response) -> response, for a service whose response has `success`
        and `message`: the caller gets an answer in any case.
        """

        def guarded(request: Any, response: Any) -> Any:
            try:
                return method(request, response)
            except Exception as error:
                self.survived(what, error)
                response.success = False
                response.message = f"failed: {type(error).__name__}: {error}"
                return response

        return guarded

    def survived(self, what: str, error: Exception) -> None:
        """Something raised that should not have."""
        line = printable(f"{what}: {type(error).__name__}: {error}")
        self._report(line)
        trace = printable("".join(traceback.format_exception(error)), _TRACE, lines=True)
        self._log.error(f"{line}; the node goes on\n{trace}", throttle_duration_sec=_THROTTLE)
