"""Where transforms come from: tf2_ros where it is installed, else our own listener on /tf and
/tf_static, else nothing but calibration files.
"""

from collections.abc import Callable
from typing import Any

from cmdfusion_ros.messages.clouds import MessageError
from cmdfusion_ros.messages.raw_transforms import read_raw_transforms
from cmdfusion_ros.messages.transforms import Tf2Buffer, TransformBuffer
from cmdfusion_ros.ros.guard import Guard
from cmdfusion_ros.ros.interfaces import Interfaces
from cmdfusion_ros.ros.qos import subscribe


class Tf2Source:
    """tf2_ros' Buffer and TransformListener. Its listener tells nobody that /tf_static spoke, so
    that topic is heard here too.

    Attributes:
        name: for the log. buffer: has `lookup`, `lookup_full` and `clear`.
    """

    name = "tf2_ros"

    def __init__(
        self,
        node: Any,
        tf2_ros: Any,
        message: type,
        make_time: Callable[[int], Any],
        on_static: Callable[[], None],
        guard: Guard,
    ) -> None:
        self._node, self._on_static = node, on_static
        self._raw = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._raw, node, spin_thread=False)
        self._subscription = subscribe(
            node,
            message,
            "/tf_static",
            guard.callback("/tf_static", self._take_static),
            "/tf_static",
        )
        self.buffer = Tf2Buffer(self._raw, make_time, tf2_ros.TransformException)

    def _take_static(self, message: Any) -> None:
        for transform in message.transforms:
            # the listener does so too, but perhaps only after this
            self._raw.set_transform_static(transform, "cmdfusion")
        self._on_static()

    def close(self) -> None:
        self._listener.unregister()
        self._node.destroy_subscription(self._subscription)


class OwnSource:
    """Our TransformBuffer, fed by subscriptions of ours. `on_static()` is called when /tf_static
    spoke.
    """

    name = "own listener (tf2_ros is not installed)"

    def __init__(
        self,
        node: Any,
        message: type,
        on_static: Callable[[], None],
        complain: Callable[[str], None],
        guard: Guard,
    ) -> None:
        self._node = node
        self.buffer = TransformBuffer()
        self._on_static, self._complain = on_static, complain
        self._subscriptions = [
            subscribe(
                node,
                message,
                topic,
                # as bytes: rclpy would let what it cannot deserialise out of the executor
                guard.callback(topic, lambda data, static=static: self._take(data, static)),
                topic,
                raw=True,
            )
            for topic, static in (("/tf", False), ("/tf_static", True))
        ]

    def _take(self, data: bytes, static: bool) -> None:
        try:
            problems = self.buffer.add_plain(read_raw_transforms(data), static)
        except MessageError as error:
            self._complain(f"{'/tf_static' if static else '/tf'}: {error}")
            return
        for problem in problems:
            self._complain(problem)
        if static:
            self._on_static()

    def close(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)


class NoSource:
    """No transforms at all: tf2_msgs is not installed either."""

    name = (
        "none (neither tf2_ros nor tf2_msgs is installed): extrinsics come from calibration files "
        "only"
    )

    def __init__(self) -> None:
        self.buffer = TransformBuffer()

    def close(self) -> None:
        pass


def open_transform_source(
    node: Any,
    interfaces: Interfaces,
    make_time: Callable[[int], Any],
    on_static: Callable[[], None],
    complain: Callable[[str], None],
    guard: Guard,
) -> Tf2Source | OwnSource | NoSource:
    """The best source that this installation has.

    Args:
        node: rclpy Node. make_time: int ns -> rclpy Time. on_static: called after static transforms
            came. complain: called with a line for each transform that is none. guard: Guard.
    """
    try:
        import tf2_ros
    except ImportError:
        return (
            OwnSource(node, interfaces.TFMessage, on_static, complain, guard)
            if interfaces.has("TFMessage")
            else NoSource()
        )
    return Tf2Source(node, tf2_ros, interfaces.TFMessage, make_time, on_static, guard)
