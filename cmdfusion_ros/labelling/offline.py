"""The node without ROS: labels a bag with the node's own synchroniser and pipeline, on the bag's
clock.

Nothing is dropped for lack of time here: each cloud waits for the one before. What happens is told
to a function `tell(event)` as plain dicts, with the keys that the processes of a live run use
(`cli/runs/record.py` counts both).
"""

import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.config import LiveSettings
from cmdfusion_ros.data.bags.bag import Bag, BagMessage, BagWriter, ros2_types
from cmdfusion_ros.data.bags.bag_layout import BagLayout
from cmdfusion_ros.data.bags.bag_parameters import node_parameters
from cmdfusion_ros.data.bags.bag_survey import INFO
from cmdfusion_ros.data.bags.bag_transforms import BagTransforms
from cmdfusion_ros.frame import Prediction
from cmdfusion_ros.labelling.bag_clock import BagClock
from cmdfusion_ros.labelling.extrinsics import Extrinsics
from cmdfusion_ros.labelling.labelled_cloud import LabelledCloud
from cmdfusion_ros.labelling.lost_points import lost_points
from cmdfusion_ros.labelling.model import AnySegmenter, is_teacher, open_segmenter
from cmdfusion_ros.labelling.originals import Originals
from cmdfusion_ros.labelling.pipeline import Pipeline
from cmdfusion_ros.labelling.placement import Placement
from cmdfusion_ros.labelling.settings import NodeSettings, PairingPart, node_settings
from cmdfusion_ros.labelling.taxonomy import open_taxonomy
from cmdfusion_ros.messages.clouds import MessageError
from cmdfusion_ros.messages.labelled_clouds import fill_cloud, write_labelled_cloud
from cmdfusion_ros.messages.stamps import raw_stamp_ns
from cmdfusion_ros.messages.transforms import TransformBuffer, TransformError
from cmdfusion_ros.pairing.paired_cloud import PairedCloud
from cmdfusion_ros.pairing.pairing import CloudAnchoredPairing

LABELLED_TOPIC = "/cmdfusion/points_labeled"  # where the node called `cmdfusion` puts them too
_TICK_NS = 5_000_000
Tell = Callable[[dict[str, Any]], None]  # is told of an event


class OfflineNode:
    """Pairs, labels and hands out the clouds of one bag, in order of stamp.

    Args:
        bag: open Bag. layout: its BagLayout. settings: NodeSettings for it. segmenter: has
            `segment` and `class_map`.
        on_labelled: called with (BagMessage of the cloud, LabelledCloud, Prediction in the
            published classes).
        tell: called with an event, a dict with its kind under "event", for each cloud that is
            handed in or lost, what became of the cameras, and each message that cannot be read.
    """

    def __init__(
        self,
        bag: Bag,
        layout: BagLayout,
        settings: NodeSettings,
        segmenter: AnySegmenter,
        on_labelled: Callable[[BagMessage, LabelledCloud, Prediction], None],
        tell: Tell,
    ) -> None:
        self._tell = tell
        self._bag, self._layout, self._settings = bag, layout, settings
        self._buffer = _buffer_of(bag, layout, settings)
        live = LiveSettings(settings)
        self._extrinsics = Extrinsics(self._buffer, live)
        self._taxonomy = open_taxonomy(
            segmenter.class_map, settings.output.taxonomy, settings.output.palette_file
        )
        self._pipeline = Pipeline(
            segmenter, self._extrinsics, live, lambda message, kind: self._deserialize(message)
        )
        self._clock = BagClock(bag.start)
        self._pairing = CloudAnchoredPairing(PairingPart(live), self._clock, self._label)
        self._on_labelled = on_labelled
        self._cameras = {camera.image_topic: camera.name for camera in layout.usable_cameras}
        self._infos = {camera.info_topic: camera.name for camera in layout.usable_cameras}
        self._static = [topic for topic in layout.transform_topics if _is_static(bag, topic)]
        self._moving = [topic for topic in layout.transform_topics if topic not in self._static]
        self.received = self.labelled = 0
        self.failed: dict[str, int] = {}  # {reason: clouds}
        self._placement: Placement | None = None
        self._prepare()

    @property
    def class_map(self) -> ClassMap:
        return self._taxonomy.class_map

    def _prepare(self) -> None:
        """What a robot's node knows before the first cloud: calibrations, the first second of /tf,
        and /tf_static, which holds for the whole bag wherever it
        was recorded; the player publishes it first too.
        """
        for camera in self._layout.usable_cameras:
            self._extrinsics.take_camera_info(camera.name, camera.info)
        for message in self._bag.messages(self._static):
            self._take_transforms(message, static=True)
        for message in self._bag.messages(self._moving, stop=self._bag.start + 1_000_000_000):
            self._take_transforms(message, static=False)
        self._look_for_transforms()

    def _look_for_transforms(self) -> None:
        """Tell the synchroniser which cameras could be used: calibrated, and placed relative to the
        cloud.
        """
        self._incomplete = False
        for camera in self._cameras.values():
            why = self._extrinsics.missing_transform(camera, self._layout.cloud_frame)
            self._incomplete |= bool(why)
            self._pairing.set_camera_ready(
                camera, calibrated=self._extrinsics.calibrated(camera), has_transform=not why
            )

    def run(self, max_clouds: int | None = None, silences: Mapping[str, int] | None = None) -> None:
        """Go through the bag, or until `max_clouds` clouds are labelled; `silences` as
        `BagLayout.silences` gives them.
        """
        silences = silences or {}
        wanted = [self._layout.cloud_topic, *self._cameras, *self._infos, *self._moving]
        for message in self._bag.messages(wanted):
            self._let_time_pass(message.time)
            if message.time < silences.get(message.topic, message.time + 1):
                self._take(message)
            if max_clouds and self.labelled >= max_clouds:
                return
        self._let_time_pass(self._bag.end + 1_000_000_000)

    def close(self) -> None:
        self._pipeline.close()

    def counts(self) -> dict[str, int]:
        """What the node's diagnostics would say: {received, labelled, dropped.<reason>}."""
        report = self._pairing.report()
        dropped = {**report.dropped, **self.failed}
        return {
            "received": self.received,
            "labelled": self.labelled,
            **{f"dropped.{name}": count for name, count in dropped.items()},
        }

    def _let_time_pass(self, until: int) -> None:
        """Tick while a cloud waits, as the node's timer does, so that it leaves at its deadline
        and not at the next message.
        """
        while self._pairing.num_pending and self._clock.now + _TICK_NS < until:
            self._clock.now += _TICK_NS
            self._pairing.on_tick()
        self._clock.now = until

    def _take(self, message: BagMessage) -> None:
        self.received += message.topic == self._layout.cloud_topic
        if message.topic == self._layout.cloud_topic or message.topic in self._cameras:
            self._take_stamped(message)
        elif message.msgtype == INFO:
            info = self._read(message)
            if info and self._extrinsics.take_camera_info(self._infos[message.topic], info):
                self._look_for_transforms()
        else:
            self._take_transforms(message, static=False)
            if self._incomplete:
                self._look_for_transforms()

    def _take_stamped(self, message: BagMessage) -> None:
        """Hand a cloud or an image to the synchroniser, which wants its stamp alone."""
        try:
            stamp = raw_stamp_ns(message.data)
        except ValueError as error:
            if message.topic in self._cameras:
                self._tell({"event": "unreadable", "topic": message.topic, "why": str(error)})
            else:
                self._lose("malformed", error)
            return
        if message.topic in self._cameras:
            self._pairing.on_image(self._cameras[message.topic], stamp, message)
            return
        if not self._layout.stamped:
            stamp = message.time
        self._tell({"event": "cloud", "stamp": stamp, "wall": time.monotonic_ns()})
        self._pairing.on_cloud(stamp, message)

    def _take_transforms(self, message: BagMessage, static: bool) -> None:
        content = self._read(message)
        if content:
            self._buffer.add(content, static)

    def _read(self, message: BagMessage) -> Any:
        """A CameraInfo or a TFMessage; None where its bytes are none, which costs that message
        only.
        """
        try:
            return self._bag.deserialize(message)
        except ValueError as error:
            self._tell({"event": "unreadable", "topic": message.topic, "why": str(error)})
            return None

    def _deserialize(self, message: BagMessage) -> Any:
        """A cloud or an image, with the error that the node's own reading has."""
        try:
            return self._bag.deserialize(message)
        except ValueError as error:
            raise MessageError(str(error)) from error

    def _label(self, paired: PairedCloud) -> None:
        try:
            labelled = self._pipeline(paired)
        except MessageError as error:
            self._lose("malformed", error, paired.stamp)
        except TransformError as error:
            self._lose("no_transform", error, paired.stamp)
        except (
            Exception
        ) as error:  # whatever a network raises costs this cloud only, as in the node's worker
            self._lose("model_error", error, paired.stamp)
        else:
            self.labelled += 1
            self._tell_placement(labelled.placement)
            self._tell_use(labelled)
            self._on_labelled(paired.cloud, labelled, self._taxonomy.translate(labelled.prediction))

    def _tell_placement(self, placement: Placement | None) -> None:
        """Say how the clouds lie to what the network knows, when that is found."""
        if placement is not None and placement is not self._placement:
            self._placement = placement
            event = {"event": "placement", "words": placement.words, "changes": placement.changes}
            self._tell(event)

    def _tell_use(self, labelled: LabelledCloud) -> None:
        """Say what became of each camera, and of a cloud that has no point to label."""
        found = {}
        for report in labelled.cameras:
            why = report.reason
            if not (report.used or why):
                why = self._pairing.report().cameras[report.name].reason
            found[report.name] = (report.status.name, why)
        self._tell({"event": "cameras", "cameras": found})
        if labelled.cloud.num_points and not len(labelled.frame.points):
            scale = labelled.placement.scale if labelled.placement else 1.0
            points = self._settings.points
            causes = lost_points(labelled.cloud.points, scale, points.min_range, points.max_range)
            causes = causes or {"beyond the network's grid": 1}
            self._tell({"event": "pointless", "why": next(iter(causes))})

    def _lose(self, reason: str, error: Exception, stamp: int | None = None) -> None:
        self.failed[reason] = self.failed.get(reason, 0) + 1
        why = f"{type(error).__name__}: {error}"
        self._tell({"event": "unlabelled", "stamp": stamp, "reason": reason, "why": why})


def _buffer_of(bag: Bag, layout: BagLayout, settings: NodeSettings) -> TransformBuffer:
    """Where motion is taken out, all transforms of the bag are known from the start, as a picture's
    may come after its cloud's; else they are learnt as a robot learns them.
    """
    if not settings.sync.fixed_frame:
        return TransformBuffer()
    return BagTransforms(bag, layout.transform_topics, layout.cloud_frame).buffer


def _is_static(bag: Bag, topic: str) -> bool:
    return topic.endswith("tf_static") or bag.topics[topic].latched


def offline_settings(layout: BagLayout, **model: Any) -> NodeSettings:
    """NodeSettings for a bag: its topics, cameras and clocks, and `model.*` as given. For a 2D
    network also the frame in which the vehicle's motion between scan and picture is taken out.

    Args:
        layout: BagLayout. model: checkpoint, device, backend, ... as the node's parameters.

    Raises:
        SettingsError: a value that the node would refuse.
    """
    parameters, _ = node_parameters(layout)
    parameters |= _unhurried(layout)
    if is_teacher(model.get("checkpoint", "")):
        with Bag(layout.path, layout.duration) as bag:
            found = BagTransforms(bag, layout.transform_topics, layout.cloud_frame)
        parameters["sync.fixed_frame"] = found.fixed_frame
    return node_settings({**parameters, **{f"model.{key}": value for key, value in model.items()}})


def _unhurried(layout: BagLayout) -> dict[str, float]:
    """What a robot's limits on waiting are in a bag, where nobody waits: late images pair too."""
    lags = [abs(camera.timing.lag) / 1e9 for camera in layout.usable_cameras]
    periods = [camera.timing.period for camera in layout.usable_cameras if camera.timing.period]
    wait = min(max([0.06, *lags]) + 0.05, 1.0)
    kept = wait / (min(periods) / 1e9) + 8 if periods else 8
    return {
        "sync.max_wait": round(wait, 3),
        "sync.image_queue": int(min(kept, 64)),
        "sync.max_pending_clouds": 16,
    }


def label_bag(
    layout: BagLayout,
    settings: NodeSettings,
    out: str | Path,
    silences: Mapping[str, int],
    tell: Tell,
    with_original: bool = False,
) -> ClassMap:
    """Write a bag with the labelled clouds of a bag and, in order of recording, its transforms or
    all its messages.

    Args:
        layout: BagLayout. settings: NodeSettings for it. out: bag to make (mcap).
        silences: {topic: recording time}, see `BagLayout.silences`.
        tell: called with the events of `OfflineNode`, one "message" a labelled cloud, and "counts";
            with the originals also "left_out" and "uncopied".
        with_original: all messages of the bag, not its transforms alone; see `Originals`.

    Returns:
        ClassMap of the labels.

    Raises:
        FileExistsError: `out` exists. ValueError: bag or network cannot be read.
    """
    types = ros2_types().types
    segmenter, _ = open_segmenter(settings.model)
    with ExitStack() as stack:
        bag = stack.enter_context(Bag(layout.path, layout.duration))
        writer = stack.enter_context(BagWriter(out))
        originals = None
        if with_original:  # a second reader, as the two are not at one place of the bag
            other = stack.enter_context(Bag(layout.path, layout.duration))
            originals = Originals(other, writer)
            tell({"event": "left_out", "topics": originals.left_out})
        for message in () if originals else bag.messages(layout.transform_topics):
            latched = _is_static(bag, message.topic)
            writer.write(message.topic, message.msgtype, message.time, message.data, latched)

        def write(message: BagMessage, labelled: LabelledCloud, prediction: Prediction) -> None:
            payload = write_labelled_cloud(
                labelled.cloud, prediction, labelled.rows, node.class_map, settings.output.layout
            )
            header = labelled.message.header
            blank = types["sensor_msgs/msg/PointCloud2"](header, 0, 0, [], False, 0, 0, b"", True)
            cloud = fill_cloud(blank, payload, header, types["sensor_msgs/msg/PointField"])
            cloud.data = np.frombuffer(cloud.data, np.uint8)
            # At the cloud's recording time, as the transforms: a LiDAR's clock need not be the
            # recorder's.
            data = writer.serialize(cloud, message.msgtype)
            if originals:
                originals.copy_until(message.time)
            writer.write(LABELLED_TOPIC, message.msgtype, message.time, data)
            tell(
                {
                    "event": "message",
                    "topic": LABELLED_TOPIC,
                    "stamp": labelled.frame.stamp,
                    "wall": time.monotonic_ns(),
                    "mode": labelled.mode.name,
                }
            )
            tell({"event": "counts", "counts": node.counts()})

        node = OfflineNode(bag, layout, settings, segmenter, write, tell)
        try:
            node.run(silences=silences)
        finally:
            node.close()
        if originals:
            originals.copy_until(None)
            for topic, why in originals.undefined.items():
                tell({"event": "uncopied", "topic": topic, "why": why})
    tell({"event": "counts", "counts": node.counts()})
    return node.class_map


def seconds_of_a_cloud(layout: BagLayout, settings: NodeSettings, clouds: int) -> float:
    """Label the first `clouds` clouds of a bag: the median seconds that one took, without the
    first, which builds and allocates; 0 where none could be labelled.
    """
    times: list[float] = []
    segmenter, _ = open_segmenter(settings.model)

    def take(_: BagMessage, labelled: LabelledCloud, prediction: Prediction) -> None:
        # publishing begins with it
        write_labelled_cloud(
            labelled.cloud, prediction, labelled.rows, node.class_map, settings.output.layout
        )
        times.append((time.monotonic_ns() - labelled.taken_up_ns) / 1e9)

    with Bag(layout.path, layout.duration) as bag:
        node = OfflineNode(bag, layout, settings, segmenter, take, lambda event: None)
        try:
            node.run(max_clouds=clouds)
        finally:
            node.close()
    return statistics.median(times[1:] or times) if times else 0.0
