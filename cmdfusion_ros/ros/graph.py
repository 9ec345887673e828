"""What the ROS graph says of the node's topics: who publishes, who cannot be heard, and what to do
about a topic on which nothing comes.
"""

from collections.abc import Sequence
from typing import Any

from rclpy.node import Node

from cmdfusion_ros.labelling.diagnostics.facts import GraphFacts
from cmdfusion_ros.labelling.diagnostics.topic_hints import hint
from cmdfusion_ros.messages.texts import printable
from cmdfusion_ros.ros.qos import publishers_of, subscribers_of, type_of

_NO_TRANSFORMS = "nobody publishes /tf_static or /tf"
_PATIENCE = 5  # looks, about seconds, before a complaint goes to the log: drivers may start later


class GraphWatch:
    """Asks the graph once a second, and logs what it finds wrong once.

    Attributes:
        facts: GraphFacts as of the last look.

    Args:
        node: rclpy Node.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._seen: dict[str, int] = {}  # {complaint: looks in a row at which it was there}
        self.facts = GraphFacts()

    def look(self, inputs: Sequence[tuple[str, str, Any]]) -> None:
        """Ask about these topics, and about whatever else the node subscribes to and publishes.

        Args:
            inputs: (topic as in the settings, the parameter that names it, subscription).
        """
        publishers: dict[str, tuple[int, str]] = {}
        lonely = []
        for topic, setting, subscription in inputs:
            found = publishers_of(self._node, subscription)
            # of two on one topic, the one that has a complaint
            publishers[topic] = max(publishers.get(topic, (0, "")), found)
            if not found[0]:
                lonely.append((topic, setting, subscription))
        hints = {}
        if lonely:
            published = self._published()
            hints = {
                topic: hint(subscription.topic_name, type_of(subscription), published, setting)
                for topic, setting, subscription in lonely
            }
        uses_clock = self._node.get_parameter("use_sim_time").value
        self.facts = GraphFacts(
            publishers=publishers,
            hints=hints,
            transforms=self._transforms(),
            listeners=self._listeners(),
            clock_publishers=self._node.count_publishers("/clock") if uses_clock else 0,
        )
        problems = [f"{topic}: {why}" for topic, (_, why) in publishers.items() if why]
        transforms = self.facts.transforms.removeprefix(_NO_TRANSFORMS)  # a LiDAR needs none
        self._log([*problems, *hints.values(), transforms, self.facts.listeners])

    def _published(self) -> dict[str, list[str]]:
        """{topic: types} of all that others publish: the node's own outputs are no inputs."""
        ours = {publisher.topic_name for publisher in self._node.publishers}
        return {
            name: types
            for name, types in self._node.get_topic_names_and_types()
            if name not in ours and self._node.count_publishers(name)
        }

    def _transforms(self) -> str:
        """Why transforms that are published cannot be heard, or that there are none; "" where
        neither is so.
        """
        listening = [
            subscription
            for subscription in self._node.subscriptions
            if subscription.topic_name.endswith(("/tf", "/tf_static"))
        ]
        number = 0
        for subscription in listening:
            found, why = publishers_of(self._node, subscription)
            if why:
                return f"{subscription.topic_name}: {why}"
            number += found
        return "" if number or not listening else _NO_TRANSFORMS

    def _listeners(self) -> str:
        """Why somebody does not hear what the node publishes; "" where all do."""
        for publisher in self._node.publishers:
            if why := subscribers_of(self._node, publisher):
                return f"{publisher.topic_name}: {why}"
        return ""

    def _log(self, complaints: Sequence[str]) -> None:
        now = set(filter(None, complaints))
        self._seen = {line: self._seen.get(line, 0) + 1 for line in now}
        for line in sorted(now):
            if self._seen[line] == _PATIENCE:
                self._node.get_logger().warning(printable(line))
