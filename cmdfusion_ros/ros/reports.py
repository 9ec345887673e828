"""The node's own reports: /diagnostics, and ~/heartbeat for whoever supervises it.

A heartbeat is published only by a node whose executor turns and whose worker is not stuck, so its
absence means "restart me"; what is wrong short of that is said on /diagnostics.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from cmdfusion_ros.labelling.diagnostics.facts import NodeFacts, Part
from cmdfusion_ros.labelling.diagnostics.node_diagnostics import NodeDiagnostics, text_of
from cmdfusion_ros.ros.guard import Guard
from cmdfusion_ros.ros.interfaces import Interfaces
from cmdfusion_ros.ros.qos import advertise

_LOOK = 0.1  # seconds between looks at the levels of the diagnostics
_AT_ONCE = 0.2  # seconds between two reports at least, however often a level changes
_GRAPH = 0.9  # seconds between looks at the ROS graph
HEARTBEAT = 0.25  # seconds between two; nav2's bond beats as often


class Reports:
    """Looks at the node ten times a second and publishes what is due. Made once, with the node.

    Attributes:
        last_look: steady seconds.

    Args:
        node: CmdfusionNode. interfaces: Interfaces. diagnostics: NodeDiagnostics. guard: Guard.
        clock: rclpy Clock of steady time.
        look: called at each look, before anything is reported. facts: () -> NodeFacts.
    """

    def __init__(
        self,
        node: Any,
        interfaces: Interfaces,
        diagnostics: NodeDiagnostics,
        guard: Guard,
        clock: Any,
        look: Callable[[bool], None],
        facts: Callable[[], NodeFacts],
    ) -> None:
        self._node, self._interfaces, self._diagnostics = node, interfaces, diagnostics
        self._look_at_node, self._facts = look, facts
        self._publisher = advertise(node, interfaces.DiagnosticArray, "/diagnostics")
        self._heartbeat = advertise(node, interfaces.Header, "~/heartbeat")
        self._last_beat = self._last_graph = -1e9
        self.last_look = time.monotonic()
        # (time, levels) of the last report
        self._reported: tuple[float, tuple[int, ...]] = (-1e9, ())
        namespace = node.get_namespace().strip("/")
        # two nodes in two namespaces must not report under one name
        self._prefix = f"/{namespace}/{node.get_name()}" if namespace else node.get_name()
        node.create_timer(_LOOK, guard.callback("diagnostics", self._look), clock=clock)

    def _look(self) -> None:
        now = self.last_look = time.monotonic()
        is_graph_due = now - self._last_graph >= _GRAPH  # asking it costs: not at each look
        self._last_graph = now if is_graph_due else self._last_graph
        self._look_at_node(is_graph_due)
        facts = self._facts()
        if now - self._last_beat >= HEARTBEAT and not (facts.worker and facts.worker.is_broken):
            self._last_beat = now
            self._heartbeat.publish(
                self._interfaces.Header(
                    stamp=self._node.get_clock().now().to_msg(), frame_id=facts.state
                )
            )
        parts = self._diagnostics.parts(facts)
        levels = tuple(part.level for part in parts)
        since = now - self._reported[0]
        is_due = since >= 1 / self._node.settings.diagnostics.rate - _LOOK / 2
        if is_due or (levels != self._reported[1] and since >= _AT_ONCE):
            self._reported = (now, levels)
            self._publish(parts)

    def _publish(self, parts: Sequence[Part]) -> None:
        message = self._interfaces.DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        hardware = self._diagnostics.model.device if self._diagnostics.model else ""
        for part in parts:
            status = self._interfaces.DiagnosticStatus(
                name=f"{self._prefix}: {part.name}",
                message=text_of(part.message),
                hardware_id=hardware,
            )
            status.level = bytes([part.level])
            status.values = [
                self._interfaces.KeyValue(key=key, value=text_of(value))
                for key, value in part.values.items()
            ]
            message.status.append(status)
        self._publisher.publish(message)
