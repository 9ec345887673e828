"""The subscriptions of an active node. A callback only reads a stamp and hands the bytes to the
synchroniser; nothing is decoded here.
"""

import struct
from typing import NamedTuple

from cmdfusion_ros.messages.clouds import MessageError
from cmdfusion_ros.messages.stamps import raw_stamp_ns
from cmdfusion_ros.ros.qos import publishers_of, subscribe

# seconds; the synchroniser's deadlines are kept to this, and only while a cloud waits
_TICK = 0.005


class Serialised(NamedTuple):
    """A message as it came over the wire, and what it can be made into."""

    data: bytes
    message_class: type


class Inputs:
    """Clouds, images, CameraInfos and the tick. Made when the node is activated, closed when it is
    deactivated; all of it runs on the executor's thread.

    Attributes:
        cloud_frame: frame_id of the last cloud, "" before the first.

    Args:
        node: rclpy Node. interfaces: Interfaces. settings: NodeSettings. pairing:
            CloudAnchoredPairing. extrinsics: Extrinsics.
        diagnostics: NodeDiagnostics, which is told of every arrival.
        steady_clock: rclpy Clock of type STEADY_TIME.
    """

    def __init__(self, node, interfaces, settings, pairing, extrinsics, diagnostics, steady_clock):
        self._node, self._interfaces = node, interfaces
        self._pairing, self._extrinsics, self._diagnostics = pairing, extrinsics, diagnostics
        self.settings = settings
        self.cloud_frame = ""
        # (topic as in the settings, subscription); two cameras may share a CameraInfo
        self._subscriptions = []
        self._tick = node.create_timer(_TICK, self._on_tick, clock=steady_clock)
        self._tick.cancel()
        try:
            self._subscribe_all()
            self.look_for_transforms()
        except Exception:
            self.close()  # nobody else knows of the subscriptions made so far
            raise

    def _subscribe_all(self):
        self._subscribe(
            self._interfaces.PointCloud2,
            self.settings.points.topic,
            self._on_cloud,
            "points",
            raw=True,
        )
        for camera, own in self.settings.camera_settings.items():
            self._subscribe_camera(camera, own)

    def _subscribe_camera(self, camera, own):
        compressed = own.transport == "compressed"
        kind = self._interfaces.CompressedImage if compressed else self._interfaces.Image
        topic = own.image_topic + ("/compressed" if compressed else "")
        info_quality = (
            "camera_info_latched"
            if own.camera_info_durability == "transient_local"
            else "camera_info"
        )
        self._subscribe(
            kind, topic, lambda data: self._on_image(camera, kind, data), "image", raw=True
        )
        self._subscribe(
            self._interfaces.CameraInfo,
            own.camera_info_topic,
            lambda message: self._on_camera_info(camera, message),
            info_quality,
        )

    def _subscribe(self, kind, topic, callback, quality, raw=False):
        self._subscriptions.append(
            (topic, subscribe(self._node, kind, topic, callback, quality, raw))
        )

    def close(self):
        self._node.destroy_timer(self._tick)
        for _, subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def publishers(self):
        """{topic as in the settings: (number of publishers, why some cannot be received or "")}."""
        found = {}
        for topic, subscription in self._subscriptions:
            # of two on one topic, the one that has a complaint
            found[topic] = max(found.get(topic, (0, "")), publishers_of(self._node, subscription))
        return found

    def look_for_transforms(self):
        """Tell the synchroniser which cameras could be used: calibrated, and placed relative to the
        cloud.
        """
        self._incomplete = False
        for camera in self.settings.cameras:
            why = (
                self._extrinsics.missing_transform(camera, self.cloud_frame)
                if self.cloud_frame
                else ""
            )
            self._incomplete |= bool(why)
            self._pairing.set_camera_ready(
                camera, calibrated=self._extrinsics.calibrated(camera), has_transform=not why
            )

    def _on_cloud(self, data):
        try:
            stamp, frame_id = raw_stamp_ns(data), raw_frame_id(data)
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

    def _on_image(self, camera, kind, data):
        try:
            stamp = raw_stamp_ns(data)
        except ValueError as error:
            self._diagnostics.image_unreadable(camera, str(error))
            return
        self._diagnostics.image_arrived(camera)
        self._pairing.on_image(camera, stamp, Serialised(data, kind))
        self._arm_tick()

    def _on_camera_info(self, camera, message):
        if self._extrinsics.take_camera_info(camera, message):
            self.look_for_transforms()

    def _on_tick(self):
        self._pairing.on_tick()
        self._arm_tick()

    def _arm_tick(self):
        """The timer runs only while a cloud waits: an idle node does not wake up."""
        if self._pairing.num_pending and self._tick.is_canceled():
            self._tick.reset()
        elif not self._pairing.num_pending and not self._tick.is_canceled():
            self._tick.cancel()


def raw_frame_id(serialised):
    """The header frame_id of a serialised message whose first field is a std_msgs/Header, so that
    the place of the cameras is known before the cloud
    is deserialised. Raises MessageError where the string does not fit into the message.
    """
    order = "<" if serialised[1] & 1 else ">"
    length = struct.unpack_from(f"{order}I", serialised, 12)[0] if len(serialised) >= 16 else 0
    if length > len(serialised) - 16:
        raise MessageError(
            f"serialised message: expected a frame_id of at most {len(serialised) - 16} bytes, "
            f"got {length}; was it cut off?"
        )
    return bytes(serialised[16 : 16 + max(length - 1, 0)]).decode("utf-8", "replace")
