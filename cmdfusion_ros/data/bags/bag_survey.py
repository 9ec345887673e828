"""One pass over the head of a bag: what each topic holds, when, and which transforms hold still."""

import itertools
from collections import deque

import numpy as np

from cmdfusion_ros.data.bags.bag import Bag, BagMessage
from cmdfusion_ros.data.bags.message_heads import indexed_heads, message_of
from cmdfusion_ros.geometry.transforms import invert
from cmdfusion_ros.messages.clouds import MessageError
from cmdfusion_ros.messages.stamps import raw_stamp_ns
from cmdfusion_ros.messages.transforms import read_transform

CLOUD, IMAGE, COMPRESSED = (
    "sensor_msgs/msg/PointCloud2",
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/CompressedImage",
)
INFO, TRANSFORMS = "sensor_msgs/msg/CameraInfo", "tf2_msgs/msg/TFMessage"


class BagSurvey:
    """First message and (recording time, stamp) of every message of each topic, and all transforms,
    from one pass over the head of a bag, and the first messages of what comes later. What cannot
    be read is left out, with a note.

    Args:
        bag: the open bag.
        seconds: how much is looked at from the first cloud on.
    """

    def __init__(self, bag: Bag, seconds: float):
        wanted = {
            topic
            for topic, info in bag.topics.items()
            if info.msgtype in (CLOUD, IMAGE, COMPRESSED, INFO, TRANSFORMS)
        }
        self.bag = bag
        self.first = {}
        self._times = {topic: [] for topic in wanted}
        self.transforms = {}  # {(parent, child): [parent_from_child, ...]} of dynamic topics
        self.static = {}  # {(parent, child): parent_from_child}
        self._left_out = {}  # {what: [how many, why the first was]}
        for message in self._head(wanted, round(seconds * 1e9)):
            self._take(message)

    def _head(self, wanted, length_ns):
        """The messages of the first `length_ns` after the first cloud (a LiDAR may start late, and
        a clock), then what the rest of the bag has of topics that said nothing yet: the first
        message, and all fixed transforms.
        """
        clouds = [topic for topic in wanted if self.bag.topics[topic].msgtype == CLOUD]
        begin = next((message.time for message in self.bag.messages(clouds)), self.bag.start)
        stop = begin + length_ns
        pictures = {t for t in wanted if self.bag.topics[t].msgtype in (IMAGE, COMPRESSED)}
        heads = indexed_heads(self.bag, pictures, stop=stop) or []
        yield from self.bag.messages(wanted - pictures if heads else wanted, stop=stop)
        if heads:
            yield from self._by_heads(heads)
        for topic in sorted(wanted):
            later = self.bag.messages([topic], start=stop)
            if topic.endswith("tf_static"):
                yield from later
            elif topic not in self.first and self.bag.topics[topic].msgtype != TRANSFORMS:
                yield from itertools.islice(later, 1)

    def _by_heads(self, heads):
        """Pictures, each read until one of its topic could be; of the rest nothing but heads."""
        for topic, time, head in heads:
            if topic in self.first:
                yield BagMessage(topic, self.bag.topics[topic].msgtype, time, head)
            else:
                yield message_of(self.bag, topic, time, head)

    def _take(self, message):
        try:
            if message.msgtype == TRANSFORMS:
                self._add_transforms(message)
                return
            times = message.time, raw_stamp_ns(message.data)
            if message.topic not in self.first:
                self.first[message.topic] = self.bag.deserialize(message)
            self._times[message.topic].append(times)
        except ValueError as error:
            self._leave_out(f"{message.topic}: messages that cannot be read", error)

    def _add_transforms(self, message):
        for item in self.bag.deserialize(message).transforms:
            try:
                *edge, transform = read_transform(item)
            except MessageError as error:
                self._leave_out(f"{message.topic}: transforms that are none", error)
                continue
            edge = tuple(edge)
            if message.topic.endswith("tf_static") or self.bag.topics[message.topic].latched:
                self.static[edge] = transform
            else:
                self.transforms.setdefault(edge, []).append(transform)

    def _leave_out(self, what, error):
        # the words alone: the error itself would keep the message from being freed
        self._left_out.setdefault(what, [0, str(error)])[0] += 1

    @property
    def notes(self) -> list[str]:
        """One for each kind of thing that was left out."""
        return [
            f"{what}: {number} left out; the first: {why}"
            for what, (number, why) in self._left_out.items()
        ]

    def topics(self, *msgtypes: str) -> list[str]:
        """Topics of these types that have a message, sorted."""
        return sorted(topic for topic in self.first if self.bag.topics[topic].msgtype in msgtypes)

    def recorded(self, topic: str) -> np.ndarray:
        """(M,) int64 recording times, ns."""
        return np.array([time for time, _ in self._times[topic]], np.int64)

    def stamps(self, topic: str) -> np.ndarray:
        """(M,) int64 header stamps, ns."""
        return np.array([stamp for _, stamp in self._times[topic]], np.int64)

    def static_links(self) -> tuple[dict[tuple[str, str], np.ndarray], list[str]]:
        """All links that hold still: /tf_static, and what /tf repeats without change (ROS 1 bags
        have their static transforms there).

        Returns:
            {(parent, child): parent_from_child (4, 4)}, and notes on what was taken from /tf.
        """
        edges, notes = dict(self.static), []
        for edge, transforms in self.transforms.items():
            if (
                edge not in edges
                and len(transforms) > 1
                and np.abs(np.array(transforms) - transforms[0]).max() < 1e-6
            ):
                edges[edge] = transforms[0]
                notes.append(
                    f"{edge[0]} -> {edge[1]} was taken from /tf as static: it does not change in "
                    f"{len(transforms)} messages"
                )
        return edges, notes


def chain(edges: dict[tuple[str, str], np.ndarray], target: str, source: str) -> np.ndarray | None:
    """target_from_source (4, 4) through the links, either way along each; None where the frames
    are not connected.
    """
    beside: dict[str, list[tuple[str, tuple[str, str]]]] = {}  # frame -> (its neighbour, the link)
    for parent, child in edges:
        beside.setdefault(child, []).append((parent, (parent, child)))
        beside.setdefault(parent, []).append((child, (parent, child)))
    found, front = {source: np.eye(4)}, deque([source])
    while front and target not in found:
        frame = front.popleft()
        for there, link in beside.get(frame, ()):
            if there not in found:
                step = edges[link] if there == link[0] else invert(edges[link])
                found[there] = step @ found[frame]
                front.append(there)
    return found.get(target)
