"""Markers and overlay images: what a person looks at, a few times a second at most and only
while somebody subscribes.
"""

import array
from collections.abc import Iterator
from typing import Any

import cv2

from cmdfusion_ros.frame import IGNORE_LABEL, CameraView, Prediction
from cmdfusion_ros.instances import find_instances
from cmdfusion_ros.labelling.labelled_cloud import LabelledCloud
from cmdfusion_ros.messages.markers import (
    DELETE_ALL,
    MarkerSpec,
    box_markers,
    fill_marker,
    frustum_marker,
    legend_markers,
    mode_marker,
    moved_marker,
)
from cmdfusion_ros.messages.overlay import draw_overlay, fill_image
from cmdfusion_ros.ros.outputs import OutputContext, RateLimit, time_message
from cmdfusion_ros.ros.qos import advertise

# a marker that is not renewed must not stay: half a second, but never less than two periods
_LIFETIME_NS = 500_000_000


class ViewOutputs:
    """The publishers of ~/markers, with the frusta of cameras whose image was not used, and of
    ~/overlay/<camera>, as Image and as <...>/compressed.
    """

    def __init__(self, context: OutputContext) -> None:
        node, interfaces, settings = context.node, context.interfaces, context.settings
        self._node, self._interfaces, self._settings = node, interfaces, settings
        self._taxonomy, self._extrinsics = context.taxonomy, context.extrinsics
        self._markers = advertise(node, interfaces.MarkerArray, "~/markers")
        self._overlays = {
            camera: advertise(node, interfaces.Image, f"~/overlay/{camera}", "~/overlay")
            for camera in settings.current.cameras
        }
        self._jpegs = {
            camera: advertise(
                node, interfaces.CompressedImage, f"~/overlay/{camera}/compressed", "~/overlay"
            )
            for camera in settings.current.cameras
        }
        self._marker_limit = RateLimit()
        self._overlay_limits = {camera: RateLimit() for camera in settings.current.cameras}

    def wanted(self) -> bool:
        """Whether anybody subscribes."""
        return any(publisher.get_subscription_count() for publisher in self._publishers())

    def wants_images(self) -> bool:
        """Whether anybody subscribes to an overlay."""
        overlays = (*self._overlays.values(), *self._jpegs.values())
        return any(publisher.get_subscription_count() for publisher in overlays)

    def close(self) -> None:
        for publisher in self._publishers():
            self._node.destroy_publisher(publisher)

    def _publishers(self) -> tuple[Any, ...]:
        return (self._markers, *self._overlays.values(), *self._jpegs.values())

    def clear(self) -> None:
        """Empty the view: time jumped."""
        message = self._interfaces.MarkerArray()
        message.markers.append(self._interfaces.Marker(action=DELETE_ALL))
        self._markers.publish(message)

    def publish(self, labelled: LabelledCloud, prediction: Prediction) -> None:
        """Publish what is due for `labelled`, whose labels are `prediction` in the published
        taxonomy. Runs on the worker's thread.
        """
        settings = self._settings.current
        rate = settings.markers.rate
        if self._markers.get_subscription_count() and self._marker_limit.passes(rate):
            self._publish_markers(labelled, prediction, rate)
        for view in labelled.frame.views:
            listeners = (
                self._overlays[view.name].get_subscription_count()
                + self._jpegs[view.name].get_subscription_count()
            )
            if listeners and self._overlay_limits[view.name].passes(settings.overlay.rate):
                self._publish_overlay(labelled, prediction, view)

    def _publish_markers(
        self, labelled: LabelledCloud, prediction: Prediction, rate: float
    ) -> None:
        class_map = self._taxonomy.class_map
        boxes = find_instances(labelled.frame.points, prediction.labels, class_map.thing_labels)
        used = [report.name for report in labelled.cameras if report.used]
        specs = [
            *box_markers(boxes, class_map),
            *legend_markers(class_map),
            mode_marker(labelled.mode, " ".join(used)),
            *self._frusta(labelled),
        ]
        if labelled.cloud_from_network is not None:
            specs = [moved_marker(spec, labelled.cloud_from_network) for spec in specs]
        header = self._interfaces.Header(
            stamp=labelled.message.header.stamp, frame_id=labelled.frame.frame_id
        )
        period_ns = round(2e9 / rate)
        seconds, nanoseconds = divmod(max(_LIFETIME_NS, period_ns), 1_000_000_000)
        lifetime = self._interfaces.Duration(sec=seconds, nanosec=nanoseconds)
        message = self._interfaces.MarkerArray()
        message.markers = [
            fill_marker(self._interfaces.Marker(), spec, header, lifetime, self._interfaces.Point)
            for spec in specs
        ]
        self._markers.publish(message)

    def _frusta(self, labelled: LabelledCloud) -> Iterator[MarkerSpec]:
        views = {view.name: view for view in labelled.frame.views}
        for number, report in enumerate(labelled.cameras):
            if report.name in views:
                view = views[report.name]
                yield frustum_marker(
                    number, report.status, view.intrinsic, view.image_size, view.camera_from_lidar
                )
            elif place := self._extrinsics.last_place(report.name, labelled.frame.frame_id):
                geometry, camera_from_lidar = place
                if labelled.cloud_from_network is not None:
                    camera_from_lidar = camera_from_lidar @ labelled.cloud_from_network
                yield frustum_marker(
                    number,
                    report.status,
                    geometry.intrinsic,
                    geometry.image_size,
                    camera_from_lidar,
                )

    def _publish_overlay(
        self, labelled: LabelledCloud, prediction: Prediction, view: CameraView
    ) -> None:
        report = next(report for report in labelled.cameras if report.name == view.name)
        sure = int((prediction.labels != IGNORE_LABEL).sum())
        caption = (
            f"{view.name}  {report.offset_ns / 1e6:+.0f} ms  {100 * report.visible_ratio:.0f} % "
            f"of {sure} points"
        )
        drawn = draw_overlay(
            view, labelled.frame.points, prediction.labels, self._taxonomy.class_map, caption
        )
        header = self._interfaces.Header(
            stamp=time_message(self._interfaces, view.stamp),
            frame_id=self._extrinsics.geometry(view.name).frame_id,
        )
        if self._overlays[view.name].get_subscription_count():
            self._overlays[view.name].publish(
                fill_image(self._interfaces.Image(), drawn, header, _byte_array)
            )
        if self._jpegs[view.name].get_subscription_count():
            message = self._interfaces.CompressedImage(
                header=header, format="rgb8; jpeg compressed bgr8"
            )
            message.data = _byte_array(
                cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))[1].data
            )
            self._jpegs[view.name].publish(message)


def _byte_array(view: memoryview) -> array.array:
    """array.array from a memoryview; given to the constructor it would be looked through element
    by element.
    """
    data = array.array("B")
    data.frombytes(view)
    return data
