"""The node without ROS: what its inputs, worker and outputs do to a cloud, counted by its own
diagnostics.
"""

import time
from collections import Counter
from threading import Event
from types import SimpleNamespace
from typing import Any

import numpy as np

from cmdfusion_ros.config import LiveSettings
from cmdfusion_ros.data.bags.bag import ros2_types
from cmdfusion_ros.frame import Frame, Prediction
from cmdfusion_ros.labelling.diagnostics.camera_diagnostics import ERROR
from cmdfusion_ros.labelling.diagnostics.facts import GraphFacts, NodeFacts
from cmdfusion_ros.labelling.diagnostics.node_diagnostics import NodeDiagnostics
from cmdfusion_ros.labelling.extrinsics import Extrinsics
from cmdfusion_ros.labelling.job import Labelling
from cmdfusion_ros.labelling.labelled_cloud import LabelledCloud
from cmdfusion_ros.labelling.model import FakeSegmenter
from cmdfusion_ros.labelling.pipeline import Pipeline
from cmdfusion_ros.labelling.settings import NodeSettings, PairingPart
from cmdfusion_ros.labelling.taxonomy import open_taxonomy
from cmdfusion_ros.labelling.worker import Worker
from cmdfusion_ros.messages.clouds import MAX_FIELDS, MessageError
from cmdfusion_ros.messages.labelled_clouds import write_labelled_cloud
from cmdfusion_ros.messages.stamps import raw_frame_id, raw_num_fields, raw_stamp_ns
from cmdfusion_ros.messages.transforms import TransformBuffer
from cmdfusion_ros.pairing.paired_cloud import Mode, PairedCloud
from cmdfusion_ros.pairing.pairing import CloudAnchoredPairing
from cmdfusion_ros.soak.clock import SoakClock

LAYOUTS = ("full", "minimal", "append", "autoware")
_PATIENCE = 30.0  # real seconds for the worker's thread


class FaultyNetwork(FakeSegmenter):
    """The stand-in for a network, which can be told to fail.

    Attributes:
        mode: "well", "raises", "nan" (confidence that is no number) or "waits" (for `go`).
    """

    def __init__(self) -> None:
        super().__init__()
        self.mode = "well"
        self.go = Event()

    def segment(self, frame: Frame) -> Prediction:
        """Label a Frame, or do what `mode` says."""
        if self.mode == "raises":
            raise RuntimeError("the soak lets the network fail")
        if self.mode == "waits":
            self.go.wait(_PATIENCE)
        prediction = super().segment(frame)
        if self.mode == "nan":
            wrong = np.full(len(prediction.confidence), np.nan, np.float32)
            return Prediction(prediction.labels, wrong, prediction.camera_mask)
        return prediction


class SoakNode:
    """Takes CDR bytes as subscriptions do. One thread calls it; the worker has its own.

    Attributes:
        settings: LiveSettings. network: FaultyNetwork. labelling: Labelling. buffer: the
            transforms.
        labelled: clouds that came out. disorder: those of them that came out of order or twice.
        last_mode: Mode of the last one.
    """

    def __init__(self, settings: NodeSettings, clock: SoakClock) -> None:
        self.settings = LiveSettings(settings)
        self.clock = clock
        self.network = FaultyNetwork()
        self.buffer = TransformBuffer()
        self.extrinsics = Extrinsics(self.buffer, self.settings, clock.seconds)
        self.diagnostics = NodeDiagnostics(self.settings, clock.seconds)
        self._taxonomy = open_taxonomy(self.network.class_map)
        pipeline = Pipeline(self.network, self.extrinsics, self.settings, self._read)
        silent = SimpleNamespace(info=_silent, warning=_silent, error=_silent)
        self.labelling = Labelling(
            pipeline, self._taxonomy, self, self, self.diagnostics, self.settings,
            clock.now_ros, silent,
        )  # fmt: skip
        self.labelled = self.disorder = self._activations = 0
        self.last_mode: Mode | None = None
        self._last = (0, 0, 0)  # activation, epoch, stamp of what came out last
        self._worker: Worker | None = None
        self._pairing: CloudAnchoredPairing | None = None
        self._frame = "lidar"
        self.activate()

    # ---- life

    def activate(self) -> None:
        """As the lifecycle transition."""
        self._activations += 1
        self.diagnostics.activated()
        worker = Worker(
            self.labelling.pipeline, self.labelling.publish, self.labelling.failed, self.settings,
            self.clock.now_ros, self.clock.seconds, lambda *_: None,
        )  # fmt: skip
        self._worker = worker
        self._pairing = CloudAnchoredPairing(
            PairingPart(self.settings), self.clock, lambda paired: self._release(paired, worker),
            lambda epoch, reason: self._on_reset(epoch, worker),
        )  # fmt: skip
        worker.start()
        self._look_for_transforms()

    def deactivate(self) -> None:
        """As the lifecycle transition."""
        if self._worker and self._pairing:
            self.network.go.set()
            self._worker.stop()
            stopped = self._worker.report().dropped["stopped"] + self._pairing.num_pending
            self.diagnostics.add_dropped({**self._dropped(), "stopped": stopped})
        self._worker = self._pairing = None

    def close(self) -> None:
        """End every thread."""
        self.deactivate()
        self.labelling.pipeline.close()
        self.labelling.saver.close()

    # ---- inputs

    def on_cloud(self, data: bytes) -> None:
        """A serialised PointCloud2."""
        if self._pairing is None:
            self.diagnostics.cloud_arrived(None)
            self.diagnostics.cloud_dropped("inactive")
            return
        try:
            stamp, frame = raw_stamp_ns(data), raw_frame_id(data)
            if raw_num_fields(data) > MAX_FIELDS:
                raise MessageError("too many fields")
        except ValueError as error:
            self.diagnostics.cloud_arrived(None)
            self.diagnostics.cloud_unreadable(str(error))
            return
        self.diagnostics.cloud_arrived(stamp)
        if frame != self._frame:
            self._frame = frame
            self._look_for_transforms()
        self._pairing.on_cloud(stamp, (data, "sensor_msgs/msg/PointCloud2"))

    def on_image(self, camera: str, data: bytes) -> None:
        """A serialised CompressedImage."""
        if self._pairing is None:
            return
        try:
            stamp = raw_stamp_ns(data)
        except ValueError as error:
            self.diagnostics.image_unreadable(camera, str(error))
            return
        self.diagnostics.image_arrived(camera)
        self._pairing.on_image(camera, stamp, (data, "sensor_msgs/msg/CompressedImage"))

    def on_camera_info(self, camera: str, data: bytes) -> None:
        """A serialised CameraInfo."""
        message = self._read((data, "sensor_msgs/msg/CameraInfo"), "camera_info")
        if self.extrinsics.take_camera_info(camera, message):
            self._look_for_transforms()

    def on_transforms(self, data: bytes, static: bool) -> None:
        """A serialised TFMessage."""
        self.buffer.add(self._read((data, "tf2_msgs/msg/TFMessage"), "tf"), static)
        if static:
            self.extrinsics.forget()
            self._look_for_transforms()

    def on_tick(self) -> None:
        """The node's timer."""
        if self._pairing and self._pairing.num_pending:
            self._pairing.on_tick()

    def watch(self) -> None:
        """The node's look at its worker."""
        if self._worker:
            self._worker.watch()

    def wait(self, taken_up: bool = False) -> None:
        """Until the worker has nothing to do, or with `taken_up` until it is at a cloud, behind
        which others may wait. RuntimeError where that takes half a minute.
        """
        end = time.monotonic() + _PATIENCE
        while self._worker and time.monotonic() < end:
            report = self._worker.report()
            if not report.running and not report.waiting or taken_up and report.running:
                return
            time.sleep(5e-5)
        if self._worker:
            raise RuntimeError(f"the worker stands: {self._worker.report()}")

    # ---- outputs: what Labelling is given as topics

    def wanted(self) -> bool:
        """Somebody always subscribes."""
        return True

    def wants_images(self) -> bool:
        """There are no overlays."""
        return False

    def clear(self) -> None:
        """There are no markers."""

    def publish(self, labelled: LabelledCloud, prediction: Prediction) -> None:
        """There are no markers."""

    def publish_filtered(self, labelled: LabelledCloud, prediction: Prediction) -> None:
        """There is no such topic."""

    def publish_scan(self, labelled: LabelledCloud, prediction: Prediction) -> None:
        """There is no such topic."""

    def publish_status(self, *_: Any) -> None:
        """There is no such topic."""

    def publish_labelled(self, labelled: LabelledCloud, prediction: Prediction) -> None:
        """Write the cloud in one layout after the other, and hold it against the one before."""
        layout = LAYOUTS[self.labelled % len(LAYOUTS)]
        cloud, class_map = labelled.cloud, self._taxonomy.class_map
        written = write_labelled_cloud(cloud, prediction, labelled.rows, class_map, layout)
        assert written.height * written.width == cloud.num_points
        now = (self._activations, labelled.epoch, labelled.frame.stamp)
        self.disorder += now <= self._last
        self._last = now
        self.labelled += 1
        self.last_mode = labelled.mode

    # ---- what it says

    def counts(self) -> dict[str, int]:
        """The counts of clouds on /diagnostics: received, labelled, dropped, waiting, dropped.*."""
        values = self.parts()[0].values
        names = ("received", "labelled", "dropped", "waiting")
        found = {name: int(values[name]) for name in names}
        return found | {key: int(values[key]) for key in values if key.startswith("dropped.")}

    def parts(self) -> list[Any]:
        """The Parts of /diagnostics."""
        cameras = {
            name: self.extrinsics.facts(name, self._frame) for name in self.settings.current.cameras
        }
        active = self._worker is not None and self._pairing is not None
        facts = NodeFacts(
            "active" if active else "inactive", active, GraphFacts(),
            self._dropped() if active else {},
            self._pairing.report() if self._pairing else None, cameras,
            self._worker.report() if self._worker else None,
        )  # fmt: skip
        return self.diagnostics.parts(facts)

    def num_errors(self) -> int:
        """Parts of /diagnostics at ERROR."""
        return sum(part.level == ERROR for part in self.parts())

    def sizes(self) -> dict[str, int]:
        """What may grow: clouds pending and waiting, frames known."""
        report = self._worker.report() if self._worker else None
        return {
            "pending": self._pairing.num_pending if self._pairing else 0,
            "waiting": report.waiting if report else 0,
            "frames": len(self.buffer.frames()),
        }

    def _dropped(self) -> dict[str, int]:
        assert self._worker and self._pairing
        worker = {k: n for k, n in self._worker.report().dropped.items() if k != "failed"}
        return dict(Counter(self._pairing.report().dropped) + Counter(worker))

    def _release(self, paired: PairedCloud, worker: Worker) -> None:
        if reason := self.labelling.reason_to_skip(paired.stamp):
            self.diagnostics.cloud_dropped(reason)
        else:
            worker.offer(paired, len(paired.cloud[0]))

    def _on_reset(self, epoch: int, worker: Worker) -> None:
        worker.start_epoch(epoch)
        self.buffer.clear()
        self.extrinsics.forget()

    def _look_for_transforms(self) -> None:
        if self._pairing is None:
            return
        for camera in self.settings.current.cameras:
            missing = self.extrinsics.missing_transform(camera, self._frame)
            self._pairing.set_camera_ready(camera, self.extrinsics.calibrated(camera), not missing)

    def _read(self, payload: Any, kind: str) -> Any:
        try:
            return ros2_types().deserialize_cdr(*payload)
        except Exception as error:  # of rosbags or numpy, all meaning that the bytes are no message
            raise MessageError(f"{kind}: cannot be deserialised: {error}") from error


def _silent(*_: Any, **__: Any) -> None:
    pass
