"""Lifecycle callbacks that say why they failed."""

import functools
import traceback
from collections.abc import Callable
from typing import Any

from rclpy.exceptions import NameValidationException
from rclpy.lifecycle import TransitionCallbackReturn


def transition(method: Callable[[Any], None]) -> Callable[[Any, Any], TransitionCallbackReturn]:
    """A lifecycle callback that says why it failed: rclpy swallows what is raised in one. A
    reason that the user can mend leaves the state as it was.
    """

    @functools.wraps(method)
    def wrapped(self: Any, state: Any) -> TransitionCallbackReturn:
        name = method.__name__[3:]
        try:
            method(self)
            if name in ("configure", "activate", "cleanup"):
                self.diagnostics.transition_failed("")
            return TransitionCallbackReturn.SUCCESS
        except (
            ValueError,
            OSError,
            ImportError,
            NameValidationException,
        ) as error:  # SettingsError and MessageError are ValueErrors
            self.get_logger().error(f"{name} failed: {error}")
            self.diagnostics.transition_failed(f"{name} failed: {error}")
            if self._inputs is None:  # what a failed transition had begun must not stay half built
                self._stop()
            if self.labelling is None:
                self._let_go()
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            self.get_logger().error(f"{name} failed: {traceback.format_exc()}")
            self.diagnostics.transition_failed(f"{name} failed: {type(error).__name__}: {error}")
            return TransitionCallbackReturn.ERROR

    return wrapped
