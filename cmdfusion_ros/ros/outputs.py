"""What the node publishes for each labelled cloud. Every output is computed only while somebody
subscribes to it.
"""

import time
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.config import LiveSettings
from cmdfusion_ros.frame import IGNORE_LABEL, Prediction
from cmdfusion_ros.geometry.transforms import apply
from cmdfusion_ros.labelling.beside_people import beside_people, labels_of_people
from cmdfusion_ros.labelling.extrinsics import Extrinsics
from cmdfusion_ros.labelling.labelled_cloud import CameraReport, LabelledCloud, PublishTimes
from cmdfusion_ros.labelling.laser_scan import nearest_ranges, scan_directions, scan_frame
from cmdfusion_ros.labelling.settings import NodeSettings
from cmdfusion_ros.labelling.taxonomy import Taxonomy
from cmdfusion_ros.messages.clouds import usable_points
from cmdfusion_ros.messages.labelled_clouds import (
    CloudPayload,
    fill_cloud,
    write_labelled_cloud,
    write_selected_cloud,
)
from cmdfusion_ros.ros.interfaces import Interfaces
from cmdfusion_ros.ros.qos import advertise


class RateLimit:
    """Says yes at most `rate` times a second; never for rate 0."""

    def __init__(self) -> None:
        self._last = -np.inf

    def passes(self, rate: float) -> bool:
        now = time.monotonic()
        if rate <= 0 or now - self._last < 1 / rate:
            return False
        self._last = now
        return True


@dataclass(frozen=True, eq=False)
class OutputContext:
    """What all publishers of the node need; `node` is the rclpy Node that owns them."""

    node: Any
    interfaces: Interfaces
    settings: LiveSettings[NodeSettings]
    taxonomy: Taxonomy
    extrinsics: Extrinsics


class CloudOutputs:
    """The publishers of the two clouds, the scan, the status and the class map, which names
    `model_name`.
    """

    def __init__(self, context: OutputContext, model_name: str) -> None:
        node, interfaces, taxonomy = context.node, context.interfaces, context.taxonomy
        self._node, self._interfaces, self._settings = node, interfaces, context.settings
        self._taxonomy, self._extrinsics = taxonomy, context.extrinsics
        self._publishers = {}
        self._sequence = 0
        for topic, message in (
            ("~/points_labeled", "PointCloud2"),
            ("~/points_filtered", "PointCloud2"),
            ("~/scan", "LaserScan"),
            ("~/status", "SegmentationStatus"),
        ):
            if interfaces.has(message):
                self._publishers[topic] = advertise(node, getattr(interfaces, message), topic)
        if interfaces.has("ClassMap"):
            self._publishers["~/class_map"] = advertise(node, interfaces.ClassMap, "~/class_map")
            self._publishers["~/class_map"].publish(
                class_map_message(
                    interfaces, taxonomy.class_map, model_name, self.ignore_id, self._now()
                )
            )
        if interfaces.has("LabelInfo"):
            self._publishers["~/label_info"] = advertise(node, interfaces.LabelInfo, "~/label_info")
            self._publishers["~/label_info"].publish(
                label_info_message(interfaces, taxonomy.class_map, self._now())
            )

    @property
    def ignore_id(self) -> int:
        """The raw label of unlabelled points."""
        wanted = self._settings.current.output.unlabeled_id
        return self._taxonomy.class_map.ignore_raw if wanted < 0 else wanted

    def wanted(self) -> bool:
        """Whether anybody subscribes to something that needs the network."""
        return any(
            self._subscribed(topic)
            for topic in ("~/points_labeled", "~/points_filtered", "~/scan", "~/status")
        )

    def close(self) -> None:
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)

    def publish_labelled(self, labelled: LabelledCloud, prediction: Prediction) -> None:
        """Publish ~/points_labeled for `labelled`, whose labels are `prediction` in the
        published taxonomy. Runs on the worker's thread.
        """
        output = self._settings.current.output
        if self._subscribed("~/points_labeled"):
            payload = write_labelled_cloud(
                labelled.cloud,
                prediction,
                labelled.rows,
                self._taxonomy.class_map,
                output.layout,
                output.confidence_threshold,
                self.ignore_id,
            )
            self._publish_cloud("~/points_labeled", labelled, payload)

    def publish_filtered(self, labelled: LabelledCloud, prediction: Prediction) -> None:
        """Publish ~/points_filtered likewise. Raises TransformError where `filter.ego_frame` is not
        known.
        """
        if self._subscribed("~/points_filtered"):
            self._publish_cloud(
                "~/points_filtered",
                labelled,
                write_selected_cloud(labelled.cloud, self.kept(labelled, prediction)),
            )

    def publish_scan(self, labelled: LabelledCloud, prediction: Prediction) -> None:
        """Publish ~/scan likewise. Raises TransformError where no level frame for it is known."""
        if not self._subscribed("~/scan"):
            return
        settings, names = self._settings.current, self._taxonomy.class_map.names
        rule, gone = settings.scan, settings.filter.classes
        if rule.classes:
            gone = (*gone, *(name for name in names if name not in rule.classes))
        frame_id, points, heights = scan_frame(
            labelled, rule.frame or settings.points.frame, self._extrinsics
        )
        counted = self.kept(labelled, prediction, gone)
        counted &= (heights >= rule.min_height) & (heights <= rule.max_height)
        message = self._interfaces.LaserScan()
        message.header.stamp = labelled.message.header.stamp
        message.header.frame_id = frame_id
        directions = scan_directions(rule.angle_increment)
        message.angle_min, message.angle_increment = -np.pi, 2 * np.pi / directions
        message.angle_max = -np.pi + (directions - 1) * message.angle_increment
        message.scan_time = settings.points.scan_period
        message.range_min, message.range_max = rule.min_range, rule.max_range
        message.ranges = array(
            "f", nearest_ranges(points[counted], directions, rule.min_range, rule.max_range)
        )
        self._publishers["~/scan"].publish(message)

    def _publish_cloud(self, topic: str, labelled: LabelledCloud, payload: CloudPayload) -> None:
        message = fill_cloud(
            self._interfaces.PointCloud2(),
            payload,
            labelled.message.header,
            self._interfaces.PointField,
        )
        self._publishers[topic].publish(message)

    def kept(
        self,
        labelled: LabelledCloud,
        prediction: Prediction,
        classes: Iterable[str] | None = None,
    ) -> np.ndarray:
        """(N,) bool, the rows of the cloud that stay: all but rows that are no points, those in the
        ego box, and those of `classes` (None: `filter.classes`) of which the network is sure,
        unless they lie beside a person or two-wheeler that stays.
        """
        rule = self._settings.current.filter
        gone = rule.classes if classes is None else classes
        removed = np.zeros(256, bool)
        removed[[self._taxonomy.class_map.label(name) for name in gone]] = True
        sure = prediction.confidence >= rule.min_probability
        cloud, scale = labelled.cloud, labelled.placement.scale if labelled.placement else 1.0
        points = cloud.points if scale == 1.0 else cloud.points * np.float32(scale)
        keep = cloud.usable.copy() if scale == 1.0 else usable_points(points)
        leaves = removed[prediction.labels] & sure
        if leaves.any():
            people = labels_of_people(self._taxonomy.class_map) & ~removed
            stay = people[prediction.labels]
            leaves &= ~beside_people(points[labelled.rows], stay, leaves)
        keep[labelled.rows] = ~leaves
        if any(rule.ego_box):
            if rule.ego_frame and rule.ego_frame != labelled.cloud.frame_id:
                points = apply(
                    self._extrinsics.transform(rule.ego_frame, labelled.cloud.frame_id), points
                )
            low, high = (
                np.array(rule.ego_box[:3], np.float32),
                np.array(rule.ego_box[3:], np.float32),
            )
            keep &= ~((points >= low) & (points <= high)).all(1)
        return keep

    def publish_status(
        self,
        labelled: LabelledCloud,
        prediction: Prediction,
        times: PublishTimes,
    ) -> None:
        """Publish ~/status of one cloud."""
        self._sequence += 1
        if not self._subscribed("~/status"):
            return
        interfaces, timings = self._interfaces, labelled.timings
        message = interfaces.SegmentationStatus()
        message.header = labelled.message.header
        message.sequence = self._sequence
        message.mode = int(labelled.mode)
        message.num_points = labelled.cloud.num_points
        sure = (prediction.labels != IGNORE_LABEL) & (
            prediction.confidence >= self._settings.current.output.confidence_threshold
        )
        message.num_labeled = int(np.count_nonzero(sure))
        message.cameras = [camera_message(interfaces, report) for report in labelled.cameras]
        message.wait_ms, message.decode_ms, message.preprocess_ms = (
            timings.wait,
            timings.decode,
            timings.preprocess,
        )
        message.inference_ms, message.postprocess_ms, message.total_ms = (
            timings.inference,
            times.postprocess_ms,
            times.total_ms,
        )
        message.latency_ms = times.latency_ms
        message.class_counts = np.bincount(prediction.labels[sure], minlength=256)[
            : self._taxonomy.class_map.num_classes
        ].tolist()
        self._publishers["~/status"].publish(message)

    def _subscribed(self, topic: str) -> bool:
        return topic in self._publishers and self._publishers[topic].get_subscription_count() > 0

    def _now(self) -> Any:
        return self._node.get_clock().now().to_msg()


def time_message(interfaces: Interfaces, stamp: int) -> Any:
    """int nanoseconds -> builtin_interfaces/Time."""
    seconds, nanoseconds = divmod(stamp, 1_000_000_000)
    return interfaces.Time(sec=seconds, nanosec=nanoseconds)


def camera_message(interfaces: Interfaces, report: CameraReport) -> Any:
    """CameraReport -> cmdfusion_ros/CameraState."""
    message = interfaces.CameraState()
    message.name = report.name
    message.status = int(report.status)
    message.stamp = time_message(interfaces, report.stamp)
    message.offset = report.offset_ns / 1e9
    message.points = report.num_points
    return message


def class_map_message(
    interfaces: Interfaces, class_map: ClassMap, model_name: str, ignore_id: int, now: Any
) -> Any:
    """ClassMap -> cmdfusion_ros/ClassMap."""
    message = interfaces.ClassMap()
    message.header.stamp = now
    message.taxonomy, message.model, message.ignore_id = class_map.name, model_name, ignore_id
    for info in class_map.classes:
        red, green, blue = info.color
        message.classes.append(
            interfaces.ClassInfo(class_id=info.raw, name=info.name, r=red, g=green, b=blue)
        )
    return message


def label_info_message(interfaces: Interfaces, class_map: ClassMap, now: Any) -> Any:
    """ClassMap -> vision_msgs/LabelInfo."""
    message = interfaces.LabelInfo()
    message.header.stamp = now
    message.class_map = [
        interfaces.VisionClass(class_id=info.raw, class_name=info.name)
        for info in class_map.classes
    ]
    return message
