"""The subscriptions of an active node. A callback only reads a stamp and hands the bytes to the
synchroniser; nothing is decoded here.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from rclpy.clock import Clock
from rclpy.node import Node
from rclpy.serialization import deserialize_message

from cmdfusion_ros.config import LiveSettings
from cmdfusion_ros.labelling.diagnostics.node_diagnostics import NodeDiagnostics
from cmdfusion_ros.labelling.extrinsics import Extrinsics
from cmdfusion_ros.labelling.sections import CameraSettings
from cmdfusion_ros.labelling.settings import NodeSettings
from cmdfusion_ros.messages.clouds import MAX_FIELDS, MessageError
from cmdfusion_ros.messages.stamps import raw_frame_id, raw_num_fields, raw_stamp_ns
from cmdfusion_ros.pairing.paired_cloud import PairedCloud
from cmdfusion_ros.pairing.pairing import CloudAnchoredPairing
from cmdfusion_ros.ros.guard import Guard
from cmdfusion_ros.ros.interfaces import Interfaces
from cmdfusion_ros.ros.qos import reliabilities, subscribe

# seconds; the synchroniser's deadlines are kept to this, and only while a cloud waits
_TICK = 0.005
_MOST_PUBLISHERS = 64  # whose numbers are remembered
# bytes; a CameraInfo has some hundreds, and what it says is kept as Python numbers
_LARGEST_INFO = 65_536
_OVERHEAD = 4096  # bytes of Python objects around a cloud that waits


class Serialised(NamedTuple):
    """A message as it came over the wire, and what it can be made into."""

    data: bytes
    message_class: type


class Inputs:
    """Clouds, images, CameraInfos and the tick. Made when the node is activated, closed when it is
    deactivated; all of it runs on the executor's thread.

    The executor may still hold messages of a subscription that is destroyed: after `close` every
    callback only counts what it gets (inactive).

    Attributes:
        cloud_frame: frame_id of the last cloud, None before the first.

    Args:
        node: rclpy Node. interfaces: Interfaces. settings: LiveSettings of NodeSettings.
            pairing:
            CloudAnchoredPairing. extrinsics: Extrinsics.
        diagnostics: NodeDiagnostics, which is told of every arrival.
        steady_clock: rclpy Clock of type STEADY_TIME. guard: Guard.
    """

    def __init__(
        self,
        node: Node,
        interfaces: Interfaces,
        settings: LiveSettings[NodeSettings],
        pairing: CloudAnchoredPairing,
        extrinsics: Extrinsics,
        diagnostics: NodeDiagnostics,
        steady_clock: Clock,
        guard: Guard,
    ) -> None:
        self._node, self._interfaces = node, interfaces
        self._pairing, self._extrinsics, self._diagnostics = pairing, extrinsics, diagnostics
        self._guard = guard
        self._settings = settings
        self.cloud_frame: str | None = None
        self._closed = False
        self._incomplete = False
        self._sequences = SequenceWatch()
        # see `subscriptions`; two cameras may share a CameraInfo
        self._subscriptions: list[tuple[str, str, Any]] = []
        self._tick = node.create_timer(
            _TICK, guard.callback("tick", self._on_tick), clock=steady_clock
        )
        self._tick.cancel()
        try:
            self._subscribe_all()
            self.look_for_transforms()
        except Exception:
            self.close()  # nobody else knows of the subscriptions made so far
            raise

    def _subscribe_all(self) -> None:
        self._subscribe_clouds(best_effort=False)
        for camera, own in self._settings.current.camera_settings.items():
            self._subscribe_camera(camera, own)

    def _subscribe_clouds(self, best_effort: bool) -> None:
        """With overload "queue" a reliable, deep subscription: middleware then loses nothing."""
        quality = "points"
        if self._settings.current.sync.overload == "queue":
            quality = "points_queue_best_effort" if best_effort else "points_queue"
        self._cloud_quality = quality
        self._subscribe(
            self._interfaces.PointCloud2,
            self._settings.current.points.topic,
            "points.topic",
            self._on_cloud,
            quality,
            with_info=True,
        )

    def _subscribe_camera(self, camera: str, own: CameraSettings) -> None:
        compressed = own.transport == "compressed"
        kind = self._interfaces.CompressedImage if compressed else self._interfaces.Image
        topic = own.image_topic + ("/compressed" if compressed else "")
        info_quality = (
            "camera_info_latched"
            if own.camera_info_durability == "transient_local"
            else "camera_info"
        )
        self._subscribe(
            kind,
            topic,
            f"{camera}.image_topic",
            lambda data: self._on_image(camera, kind, data),
            "image",
        )
        self._subscribe(
            self._interfaces.CameraInfo,
            own.camera_info_topic,
            f"{camera}.camera_info_topic",
            lambda data: self._on_camera_info(camera, data),
            info_quality,
        )

    def _subscribe(
        self,
        kind: type,
        topic: str,
        setting: str,
        callback: Callable[..., Any],
        quality: str,
        with_info: bool = False,
    ) -> None:
        """Every message comes as bytes: rclpy would let what it cannot deserialise out of the
        executor.
        """
        guarded, on_lost = self._guard.callback(topic, callback), None
        if with_info and takes_message_info():
            guarded = asking_for_info(guarded)
        elif with_info:  # Humble
            on_lost = self._guard.callback("lost messages", self._on_lost)
        subscription = subscribe(self._node, kind, topic, guarded, quality, True, on_lost)
        self._subscriptions.append((topic, setting, subscription))

    def close(self) -> None:
        self._closed = True
        self._node.destroy_timer(self._tick)
        for *_, subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def subscriptions(self) -> list[tuple[str, str, Any]]:
        """(topic as in the settings, the parameter that names it, subscription)."""
        return list(self._subscriptions)

    def match_publishers(self) -> None:
        """With overload "queue": give up reliability while a publisher of the clouds has none to
        offer, and ask for it again when all that are there do. Call it now and then.
        """
        if self._closed or self._cloud_quality == "points":
            return
        topic, _, subscription = self._subscriptions[0]
        offered = reliabilities(self._node, subscription.topic_name)
        best_effort = "best_effort" in offered
        if not offered or best_effort == (self._cloud_quality == "points_queue_best_effort"):
            return
        self._node.get_logger().warning(
            f"{topic}: a publisher sends best effort, so clouds may be lost on the way even with "
            "sync.overload queue"
            if best_effort
            else f"{topic}: every publisher is reliable again"
        )
        self._node.destroy_subscription(subscription)
        others, self._subscriptions = self._subscriptions[1:], []
        self._subscribe_clouds(best_effort)
        self._subscriptions += others

    def look_for_transforms(self) -> None:
        """Tell the synchroniser which cameras could be used: calibrated, and placed relative to the
        cloud.
        """
        self._incomplete = False
        for camera in self._settings.current.cameras:
            why = self._extrinsics.missing_transform(camera, self.cloud_frame)
            self._incomplete |= bool(why)
            self._pairing.set_camera_ready(
                camera, calibrated=self._extrinsics.calibrated(camera), has_transform=not why
            )

    def _on_cloud(self, data: bytes, info: Any = None) -> None:
        if self._closed:
            self._diagnostics.cloud_arrived(None)
            self._diagnostics.cloud_dropped("inactive")
            return
        if lost := self._sequences.lost_before(info):
            self._diagnostics.clouds_lost(lost)
        try:
            stamp, frame_id = raw_stamp_ns(data), raw_frame_id(data)
            if (number := raw_num_fields(data)) > MAX_FIELDS:
                raise MessageError(f"cloud: expected at most {MAX_FIELDS} fields, got {number}")
        except ValueError as error:
            self._diagnostics.cloud_arrived(None)
            self._diagnostics.cloud_unreadable(str(error))
            return
        self._diagnostics.cloud_arrived(stamp)
        if frame_id != self.cloud_frame or self._incomplete:
            self.cloud_frame = frame_id
            self.look_for_transforms()
        self._pairing.on_cloud(stamp, Serialised(data, self._interfaces.PointCloud2))
        self._arm_tick()

    def _on_lost(self, status: Any) -> None:
        """What the middleware knows of messages that never came. Asked only where there are no
        sequence numbers: Fast DDS does not tell of those that it overwrote.
        """
        self._diagnostics.clouds_lost(status.total_count_change)

    def _on_image(self, camera: str, kind: type, data: bytes) -> None:
        if self._closed:
            return
        try:
            stamp = raw_stamp_ns(data)
        except ValueError as error:
            self._diagnostics.image_unreadable(camera, str(error))
            return
        self._diagnostics.image_arrived(camera)
        self._pairing.on_image(camera, stamp, Serialised(data, kind))
        self._arm_tick()

    def _on_camera_info(self, camera: str, data: bytes) -> None:
        if self._closed:
            return
        try:
            if len(data) > _LARGEST_INFO:
                raise MessageError(
                    f"camera_info: expected at most {_LARGEST_INFO} bytes, got {len(data)}"
                )
            message = read_serialised(data, self._interfaces.CameraInfo, "camera_info")
        except MessageError as error:
            self._diagnostics.image_unreadable(camera, str(error))
            return
        if self._extrinsics.take_camera_info(camera, message):
            self.look_for_transforms()

    def _on_tick(self) -> None:
        if self._closed:
            return
        self._pairing.on_tick()
        self._arm_tick()

    def _arm_tick(self) -> None:
        """The timer runs only while a cloud waits: an idle node does not wake up."""
        if self._pairing.num_pending and self._tick.is_canceled():
            self._tick.reset()
        elif not self._pairing.num_pending and not self._tick.is_canceled():
            self._tick.cancel()


class SequenceWatch:
    """Finds clouds that were published and never came, by the numbers that publishers give their
    messages.
    """

    def __init__(self) -> None:
        self._last: dict = {}  # publisher -> number of its last message

    def lost_before(self, info: Any) -> int:
        """How many messages of the same publisher are missing right before this one. `info` is
        rclpy's of a message, None where there is none.
        """
        if not info or info.get("publication_sequence_number") is None:
            return 0
        publisher = bytes((info.get("publisher_gid") or {}).get("data", b""))
        number = info["publication_sequence_number"]
        last = self._last.pop(publisher, number - 1)  # popped: the oldest is to be first
        self._last[publisher] = number
        if len(self._last) > _MOST_PUBLISHERS:
            del self._last[next(iter(self._last))]
        return max(0, number - last - 1)


def takes_message_info() -> bool:
    """Whether this rclpy gives the number of a message to callbacks of two arguments."""
    from rclpy.subscription import Subscription

    return hasattr(Subscription, "CallbackType")


def asking_for_info(callback: Callable[..., Any]) -> Callable[..., Any]:
    """A callback to which rclpy gives a message and what the middleware knows of it.

    rclpy counts the arguments of a callback to know what it wants; its events executor (Kilted)
    then gives both as one tuple, and raises a SystemError where the callback truly takes two.
    """

    def taking_any(*arguments: Any) -> Any:
        return callback(*(arguments[0] if len(arguments) == 1 else arguments))

    asking: Any = taking_any
    asking.__signature__ = inspect.signature(lambda message, info: None)
    return asking


def num_bytes(paired: PairedCloud) -> int:
    """Bytes that a PairedCloud of Serialised messages keeps from being freed, at most: images that
    several clouds share are counted with each.
    """
    payloads = [paired.cloud, *(image.image for image in paired.images.values())]
    return _OVERHEAD + sum(len(payload.data) for payload in payloads)


def read_serialised(data: bytes, message_class: type, kind: str) -> Any:
    """Serialised message -> message. Raises MessageError where it is none; `kind` names it."""
    try:
        return deserialize_message(data, message_class)
    except Exception as error:  # of many classes, all meaning that the bytes are no such message
        raise MessageError(f"{kind}: cannot be deserialised: {error}") from error
