"""Plays a bag into a real ROS 2 graph: `python -m cmdfusion_ros.ros.player BAG`. Its own process,
as a robot's drivers are.

What `ros2 bag play` does, for machines that have only rclpy: the recorded CDR goes out unchanged
through ordinary publishers, and /clock tells the recorded time. Message classes are imported by the
names in the bag, so any type that is installed can be played.
"""

import argparse
import importlib
import json
import signal
import struct
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import rclpy
from rclpy.exceptions import InvalidTopicNameException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from cmdfusion_ros.data.bags.bag import Bag, BagMessage, BagTopic
from cmdfusion_ros.data.bags.bag_layout import OWN_TOPICS, TRANSFORMS, inspect_bag
from cmdfusion_ros.data.bags.playing_options import add_playing_options
from cmdfusion_ros.messages.stamps import raw_stamp_ns

# seconds of recorded time; a synchroniser that waits 60 ms needs a clock much finer than that
_CLOCK_STEP = 0.005
# least and longest seconds of wall time between ticks: each costs every listener a callback
_CLOCK_PERIODS = (0.005, 0.05)
# seconds: a publisher sees its subscriber a moment before the subscriber is ready for it, and
# nothing tells when
SETTLE = 1.0


@contextmanager
def bag_node(name: str, **options: Any) -> Iterator[Node]:
    """A node in a process of its own, which a signal ends as Ctrl-C does. What a bag raises is its
    last event; the process then ends with 1.
    """
    # SIGINT too: a background job of a shell ignores it, and its children inherit that
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node(name, **options)
    try:
        yield node
    except (ValueError, OSError) as error:
        emit("failed", why=str(error))
        raise SystemExit(1) from error
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def emit(event: str, **values: Any) -> None:
    """Tell the command line what happens: one JSON object a line on standard output, with its kind
    under "event". Plain values only; stamps and wall times are int nanoseconds (wall: the monotonic
    clock, which all processes of a machine share).
    """
    sys.stdout.write(json.dumps({"event": event, **values}) + "\n")
    sys.stdout.flush()


def _stamp_of(message: BagMessage) -> int:
    """The header stamp; the recording time of a message that is cut off, which is played as it
    is: its listeners must live with it too.
    """
    try:
        return raw_stamp_ns(message.data)
    except ValueError:
        return message.time


def message_class(msgtype: str) -> Any:
    """The class of "package/msg/Name"; None where its package is not installed."""
    package, kind, name = msgtype.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.{kind}"), name)
    except (ImportError, AttributeError):
        return None


class Player:
    """Publishers for the topics of a bag, and the loop that feeds them in recorded order at
    `rate` times real time.
    """

    def __init__(
        self, node: Node, bag: Bag, rate: float, silent_from: Mapping[str, int], cloud_topic: str
    ) -> None:
        self._node, self._bag, self._rate = node, bag, rate
        self._silent_from = silent_from
        self._cloud_topic = cloud_topic
        least, longest = _CLOCK_PERIODS
        self._clock_period = min(max(_CLOCK_STEP / rate, least), longest)
        self._clock = node.create_publisher(
            message_class("rosgraph_msgs/msg/Clock"), "/clock", QoSProfile(depth=1)
        )
        self.publishers: dict[str, Any] = {}
        self.skipped: dict[str, str] = {}  # topic -> why
        self.published: dict[str, int] = {}
        for topic, info in bag.topics.items():
            kind = message_class(info.msgtype)
            if kind is None:
                self.skipped[topic] = f"{info.msgtype} is not installed"
            elif topic.startswith(OWN_TOPICS):
                self.skipped[topic] = "the node's own, from an earlier run"
            elif topic != "/clock":
                quality = _quality(info, info.latched or self._is_static(topic))
                try:
                    self.publishers[topic] = node.create_publisher(kind, topic, quality)
                except InvalidTopicNameException:  # ROS 1 allows parts that begin with a digit
                    self.skipped[topic] = "no name that ROS 2 allows"

    def wait_for_subscribers(self, topics: Sequence[str], timeout: float) -> None:
        """Return once every one of `topics` has a subscriber. The clock stands at the bag's start
        meanwhile.

        Raises:
            TimeoutError: some have none after `timeout` seconds.
        """
        missing = [topic for topic in topics if topic not in self.publishers]
        if missing:
            raise ValueError(
                f"player: waiting for subscribers of {', '.join(missing)} would never end: not in "
                "the bag, or their types are not installed"
            )
        end = time.monotonic() + timeout
        while lonely := [
            topic for topic in topics if not self.publishers[topic].get_subscription_count()
        ]:
            if time.monotonic() > end:
                raise TimeoutError(
                    f"player: nobody subscribed to {', '.join(lonely)} within {timeout:g} s; is "
                    "the node running, and are its topics these?"
                )
            self._publish_clock(self._bag.start)
            time.sleep(0.02)
        time.sleep(SETTLE)

    def play(self, tail: float) -> None:
        """Publish everything; then let the clock run on for `tail` seconds of recorded time, so
        that waits which began in the bag come to their end.
        """
        self._publish_static_transforms()
        began, next_tick = time.monotonic(), 0.0
        for message in self._bag.messages(list(self.publishers)):
            next_tick = self._run_clock_to(message.time, began, next_tick)
            self._publish_clock(message.time)
            silent = message.time >= self._silent_from.get(message.topic, message.time + 1)
            if not silent and not self._is_static(message.topic):
                self._publish(message)
        self._run_clock_to(self._bag.end + round(tail * 1e9), began, next_tick)

    def _publish(self, message: BagMessage) -> None:
        wall = time.monotonic_ns()
        self.publishers[message.topic].publish(message.data)
        self.published[message.topic] = self.published.get(message.topic, 0) + 1
        if message.topic == self._cloud_topic:
            emit("cloud", stamp=_stamp_of(message), wall=wall)

    def _publish_static_transforms(self) -> None:
        """All of them at once before the first message: they hold for the whole bag, and a cloud
        that comes before them would go without cameras.
        """
        for message in self._bag.messages(
            [topic for topic in self.publishers if self._is_static(topic)]
        ):
            self._publish(message)

    def _is_static(self, topic: str) -> bool:
        info = self._bag.topics[topic]
        return info.msgtype == TRANSFORMS and (info.latched or topic.endswith("tf_static"))

    def _run_clock_to(self, bag_time: int, began: float, next_tick: float) -> float:
        """Sleep until `bag_time` (ns) is due, ticking the clock; returns the wall time, in
        seconds since `began`, of the tick after that.
        """
        due = (bag_time - self._bag.start) / 1e9 / self._rate
        while next_tick < due:
            time.sleep(max(began + next_tick - time.monotonic(), 0.0))
            self._publish_clock(self._bag.start + round(next_tick * self._rate * 1e9))
            next_tick = max(next_tick + self._clock_period, time.monotonic() - began)
        time.sleep(max(began + due - time.monotonic(), 0.0))
        return next_tick

    def _publish_clock(self, bag_time: int) -> None:
        seconds, nanoseconds = divmod(bag_time, 1_000_000_000)
        self._clock.publish(struct.pack("<4BiI", 0, 1, 0, 0, seconds, nanoseconds))


def _quality(info: BagTopic, latched: bool) -> QoSProfile:
    """The recorded reliability; latched topics keep what they had, for those who come late.
    /tf_static is latched whatever a ROS 1 bag says of it.
    """
    reliability = ReliabilityPolicy.RELIABLE if info.reliable else ReliabilityPolicy.BEST_EFFORT
    durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
    return QoSProfile(depth=100 if latched else 10, reliability=reliability, durability=durability)


def add_arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    add_playing_options(parser)
    parser.add_argument(
        "--wait-timeout",
        type=float,
        default=60.0,
        metavar="S",
        help="give up waiting after this long (default 60)",
    )
    parser.add_argument(
        "--silence",
        action="append",
        default=[],
        metavar="CAMERA@S",
        help="drop a camera's messages from S seconds on; all@S for all",
    )
    parser.add_argument(
        "--points", help="PointCloud2 topic whose clouds are reported (default: the densest)"
    )
    parser.add_argument(
        "--duration",
        type=float,
        default=0.0,
        metavar="S",
        help="play only the first S seconds (default: all)",
    )
    parser.add_argument(
        "--tail",
        type=float,
        default=1.0,
        metavar="S",
        help="seconds of recorded time the clock runs on after the last message (default 1)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    args = add_arguments(argparse.ArgumentParser(description="play a bag into ROS 2")).parse_args(
        arguments
    )
    if not args.rate > 0:
        raise SystemExit(f"player: --rate: expected more than 0, got {args.rate}")
    layout = inspect_bag(args.bag, args.points, args.duration)
    with bag_node("bag_player") as node, Bag(args.bag, args.duration) as bag:
        player = Player(node, bag, args.rate, layout.silences(args.silence), layout.cloud_topic)
        if player.skipped:
            emit("skipped", topics=player.skipped)
        try:
            player.wait_for_subscribers(args.wait_for, args.wait_timeout)
            emit("started", rate=args.rate)
            player.play(args.tail)
            emit("done", published=player.published)
        except KeyboardInterrupt:
            emit("interrupted")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
