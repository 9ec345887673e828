"""/diagnostics: at its rate, and at once where a level changed."""

import time

from rclpy.clock import Clock, ClockType

from cmdfusion_ros.labelling.diagnostics.node_diagnostics import text_of
from cmdfusion_ros.ros.qos import advertise

_LOOK = 0.1  # seconds between looks at the levels
_AT_ONCE = 0.2  # seconds between two reports at least, however often a level changes


class DiagnosticsOutput:
    """Publishes what the NodeDiagnostics of a node say.

    Args:
        node: CmdfusionNode, with `diagnostics`, `settings`, `facts()` and `look_at_topics()`.
        interfaces: Interfaces.
    """

    def __init__(self, node, interfaces):
        self._node, self._interfaces = node, interfaces
        self._publisher = advertise(node, interfaces.DiagnosticArray, "/diagnostics")
        self._reported = (-1e9, ())  # (time, levels) of the last report
        # a clock of its own: it must speak while /clock stands still
        node.create_timer(_LOOK, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _look(self):
        now = time.monotonic()
        rate = self._node.settings.diagnostics.rate
        is_due = now - self._reported[0] >= 1 / rate - _LOOK / 2
        if is_due:
            self._node.look_at_topics()
        parts = self._node.diagnostics.parts(self._node.facts())
        levels = tuple(part.level for part in parts)
        if is_due or (levels != self._reported[1] and now - self._reported[0] >= _AT_ONCE):
            self._reported = (now, levels)
            self._publish(parts)

    def _publish(self, parts):
        message = self._interfaces.DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        model = self._node.diagnostics.model
        for part in parts:
            status = self._interfaces.DiagnosticStatus(
                name=f"{self._node.get_name()}: {part.name}",
                message=part.message,
                hardware_id=model.device if model else "",
            )
            status.level = bytes([part.level])
            status.values = [
                self._interfaces.KeyValue(key=key, value=text_of(value))
                for key, value in part.values.items()
            ]
            message.status.append(status)
        self._publisher.publish(message)
