"""From a released cloud to everything published for it: the job of the worker's thread, and who
decides whether it is worth doing.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from cmdfusion_ros.config import LiveSettings
from cmdfusion_ros.frame import Prediction
from cmdfusion_ros.labelling.alignment.watch import RIGHT, AlignmentWatch
from cmdfusion_ros.labelling.diagnostics.node_diagnostics import NodeDiagnostics
from cmdfusion_ros.labelling.frame_saver import FrameSaver
from cmdfusion_ros.labelling.labelled_cloud import LabelledCloud, PublishTimes
from cmdfusion_ros.labelling.pipeline import Pipeline
from cmdfusion_ros.labelling.placement import Placement
from cmdfusion_ros.labelling.settings import NodeSettings
from cmdfusion_ros.labelling.taxonomy import Taxonomy
from cmdfusion_ros.messages.clouds import MessageError
from cmdfusion_ros.messages.texts import printable
from cmdfusion_ros.messages.transforms import TransformError
from cmdfusion_ros.pairing.paired_cloud import PairedCloud

_TOO_SOON = "rate_limit"
_AGE_NS = 1e18  # thirty years: no rate is lower
_THROTTLE = 5.0  # seconds between two lines of the log about the same thing


class Pace:
    """Lets clouds through at a rate at most, by their stamps: a bag that is played faster or slower
    gives the same ones.
    """

    def __init__(self) -> None:
        self._last = self._due = 0

    def passes(self, stamp: int, rate: float) -> bool:
        """Whether the cloud of this stamp (ns) is let through at `rate` a second; 0 = all."""
        if rate <= 0:
            return True
        period = round(min(1e9 / rate, _AGE_NS))
        # clouds come in order of their stamps: an earlier one means that time began anew
        if stamp < self._last or stamp > self._due + period:  # or a pause is over
            self._due = stamp
        self._last = stamp
        if stamp < self._due - period // 20:  # stamps jitter
            return False
        self._due += period
        return True


class CloudPublisher(Protocol):
    """The topics of a labelled cloud itself: `CloudOutputs` of the node."""

    def wanted(self) -> bool: ...

    def close(self) -> None: ...

    def publish_labelled(self, labelled: LabelledCloud, prediction: Prediction) -> None: ...

    def publish_filtered(self, labelled: LabelledCloud, prediction: Prediction) -> None: ...

    def publish_scan(self, labelled: LabelledCloud, prediction: Prediction) -> None: ...

    def publish_status(
        self, labelled: LabelledCloud, prediction: Prediction, times: PublishTimes
    ) -> None: ...


class ViewPublisher(Protocol):
    """What a person looks at: `ViewOutputs` of the node."""

    def wanted(self) -> bool: ...

    def close(self) -> None: ...

    def wants_images(self) -> bool: ...

    def clear(self) -> None: ...

    def publish(self, labelled: LabelledCloud, prediction: Prediction) -> None: ...


class Labelling:
    """Labels clouds and publishes them.

    Args:
        pipeline, taxonomy, diagnostics, settings: of the node. outputs, views: where results go.
        now_ros: int ns of the node's clock. log: rclpy logger.
        watch: judges where cameras sit; None = nobody does.

    Attributes:
        pipeline: the job of the worker. taxonomy, views: as given.
        paused: while True no cloud is labelled.
        saver: FrameSaver, which is given every labelled cloud.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        taxonomy: Taxonomy,
        outputs: CloudPublisher,
        views: ViewPublisher,
        diagnostics: NodeDiagnostics,
        settings: LiveSettings[NodeSettings],
        now_ros: Callable[[], int],
        log: Any,
        watch: AlignmentWatch | None = None,
    ) -> None:
        self.pipeline, self.taxonomy = pipeline, taxonomy
        self._outputs, self.views = outputs, views
        self._diagnostics, self._settings = diagnostics, settings
        self._now_ros, self._log = now_ros, log
        self.paused, self._pace = False, Pace()
        self.saver = FrameSaver(self._saved)
        self._watch = watch
        self._judged: dict[str, str] = {}  # {camera: what was judged of it last}
        if watch is not None:
            watch.tell = self._tell_alignment
        pipeline.wants_images = self._wants_images
        self._placement: Placement | None = None
        self._trouble = ""

    def close(self) -> None:
        self.saver.close()
        if self._watch is not None:
            self._watch.close()
        self.pipeline.close()
        self._outputs.close()
        self.views.close()

    @property
    def wanted(self) -> bool:
        """Whether anybody would see a label."""
        return (
            self._settings.current.output.always_publish
            or self.saver.wanted
            or self._outputs.wanted()
            or self.views.wanted()
        )

    def reason_to_skip(self, stamp: int) -> str:
        """Why a cloud of this stamp (ns), released now, need not be labelled; "" when it must."""
        if self.paused:
            return "paused"
        if not self.wanted:
            return "no_subscriber"
        return "" if self._pace.passes(stamp, self._settings.current.points.max_rate) else _TOO_SOON

    def publish(self, paired: PairedCloud, labelled: LabelledCloud) -> None:
        """Publish a LabelledCloud on every topic that somebody subscribes to."""
        started = time.monotonic_ns()
        prediction = self.taxonomy.translate(labelled.prediction)
        self._outputs.publish_labelled(labelled, prediction)
        self._attempt("~/points_filtered", self._outputs.publish_filtered, labelled, prediction)
        self._attempt("~/scan", self._outputs.publish_scan, labelled, prediction)
        published = time.monotonic_ns()
        total_ms = (published - paired.released_ns) / 1e6
        latency_ms = (self._now_ros() - paired.stamp) / 1e6
        times = PublishTimes((published - started) / 1e6, total_ms, latency_ms)
        self._outputs.publish_status(labelled, prediction, times)
        self._diagnostics.cloud_labelled(labelled, total_ms, latency_ms)
        if labelled.num_beyond_reach:
            self._diagnostics.points_beyond_reach(labelled.num_beyond_reach)
        if labelled.retried:
            self._log.error(
                printable(f"{labelled.retried}; labelled from LiDAR alone"),
                throttle_duration_sec=_THROTTLE,
            )
        self._tell_placement(labelled.placement)
        self._tell_device(self.pipeline.device_trouble)
        self._attempt("markers or overlay", self.views.publish, labelled, prediction)
        self.saver.take(labelled, prediction, self.taxonomy.class_map, self._settings.current)
        if self._watch is not None:
            self._watch.take(labelled.frame, labelled.cloud_from_network, labelled.cloud.frame_id)

    def _wants_images(self) -> bool:
        due = self._watch is not None and self._watch.due
        return due or self.saver.wanted or self.views.wants_images()

    def _saved(self, path: Path, why: str) -> None:
        if why:
            self._output_failed(f"saved frame {path}: {why}")
        else:
            self._log.info(f"saved {path}")

    def _tell_placement(self, placement: Placement | None) -> None:
        """Say once how the clouds lie to what the network knows: a warning where it is not sure."""
        if placement is None or placement is self._placement or not placement.words:
            return
        self._placement = placement
        say = self._log.info if placement.sure else self._log.warning
        say(printable(f"the network sees the clouds from: {placement.words}"))

    def _tell_alignment(self, camera: str, words: str, is_wrong: bool) -> None:
        """Say once when a camera is found not to sit as it says, and when it does again."""
        self._diagnostics.camera_judged(camera, words, is_wrong)
        before = self._judged.get(camera, RIGHT)
        if is_wrong and words != before:
            self._log.warning(
                printable(
                    f"camera {camera}: {words}; told by edges of clouds and images, as `cmdfusion "
                    "inspect` does; diagnostics.check_alignment: false ends it"
                )
            )
        elif words == RIGHT != before:
            self._log.info(f"camera {camera}: edges of clouds and images fit now")
        if is_wrong or words == RIGHT:
            self._judged[camera] = words

    def _tell_device(self, trouble: str) -> None:
        """Say when the network moves to the CPU, and when it is back."""
        if bool(trouble) != bool(self._trouble):
            say = self._log.error if trouble else self._log.info
            say(printable(trouble or "the device answers again: labelling on it"))
        self._trouble = trouble

    def _attempt(
        self,
        what: str,
        publish: Callable[[LabelledCloud, Prediction], None],
        labelled: LabelledCloud,
        prediction: Prediction,
    ) -> None:
        """Publish something beside the labelled cloud. That is out already: what fails here must
        not count as a lost cloud, nor cost the rest.
        """
        try:
            publish(labelled, prediction)
        except Exception as error:
            self._output_failed(f"{what}: {type(error).__name__}: {error}")

    def _output_failed(self, why: str) -> None:
        self._diagnostics.view_failed(why)
        self._log.error(printable(why), throttle_duration_sec=_THROTTLE)

    def failed(self, paired: PairedCloud, error: Exception) -> None:
        """A cloud could not be labelled: count it by its reason."""
        if isinstance(error, MessageError):
            self._diagnostics.cloud_unreadable(str(error))
        elif isinstance(error, TransformError):
            self._diagnostics.cloud_failed("no_transform", str(error))
        else:
            self._diagnostics.cloud_failed("model_error", f"{type(error).__name__}: {error}")
        self._log.error(
            printable(f"cloud dropped: {type(error).__name__}: {error}"),
            throttle_duration_sec=_THROTTLE,
        )
