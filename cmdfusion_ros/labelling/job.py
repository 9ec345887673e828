"""From a released cloud to everything published for it: the job of the worker's thread, and who
decides whether it is worth doing.
"""

import time
from dataclasses import dataclass

from cmdfusion_ros.labelling.frame_saver import FrameSaver
from cmdfusion_ros.messages.clouds import MessageError
from cmdfusion_ros.messages.texts import printable
from cmdfusion_ros.messages.transforms import TransformError
from cmdfusion_ros.pairing.paired_cloud import PairedCloud

_THROTTLE = 5.0  # seconds between two lines of the log about the same thing


@dataclass(frozen=True)
class Released:
    """A PairedCloud, the moment (steady clock, ns) at which the synchroniser let it go, and the
    bytes of its messages: what the worker is offered.
    """

    paired: PairedCloud
    at_ns: int
    num_bytes: int

    @property
    def stamp(self):
        return self.paired.stamp

    @property
    def epoch(self):
        return self.paired.epoch


class Labelling:
    """Labels clouds and publishes them.

    Args:
        pipeline: Pipeline. taxonomy: Taxonomy. outputs: CloudOutputs. views: ViewOutputs.
            diagnostics: NodeDiagnostics.
        now_ros: int ns of the node's clock. log: rclpy logger.

    Attributes:
        taxonomy: as given.
        paused: while True no cloud is labelled.
        saver: FrameSaver, which is given every labelled cloud.
    """

    def __init__(self, pipeline, taxonomy, outputs, views, diagnostics, now_ros, log):
        self._pipeline, self.taxonomy, self._outputs, self._views = (
            pipeline,
            taxonomy,
            outputs,
            views,
        )
        self._diagnostics, self._now_ros, self._log = diagnostics, now_ros, log
        self.paused = False
        self.saver = FrameSaver(self._saved)
        self._placement = None
        self._trouble = ""

    def update_settings(self, settings):
        for part in (self._pipeline, self._outputs, self._views):
            part.settings = settings

    @property
    def device_trouble(self) -> str:
        """As of the Pipeline."""
        return self._pipeline.device_trouble

    def close(self):
        self.saver.close()
        self._pipeline.close()
        self._outputs.close()
        self._views.close()

    def clear_views(self):
        self._views.clear()

    @property
    def wanted(self):
        """Whether anybody would see a label."""
        return (
            self._pipeline.settings.output.always_publish
            or self.saver.wanted
            or self._outputs.wanted()
            or self._views.wanted()
        )

    def reason_to_skip(self):
        """Why a cloud released now need not be labelled; "" when it must."""
        if self.paused:
            return "paused"
        return "" if self.wanted else "no_subscriber"

    def label(self, released):
        """Released -> LabelledCloud: the worker's job. It may raise: the worker gives that to
        `failed`.
        """
        return self._pipeline(released.paired)

    def publish(self, released, labelled):
        """Publish a LabelledCloud on every topic that somebody subscribes to."""
        started = time.monotonic_ns()
        prediction = self.taxonomy.translate(labelled.prediction)
        self._outputs.publish_labelled(labelled, prediction)
        self._attempt("~/points_filtered", self._outputs.publish_filtered, labelled, prediction)
        published = time.monotonic_ns()
        total_ms = (published - released.at_ns) / 1e6
        latency_ms = (self._now_ros() - released.stamp) / 1e6
        self._outputs.publish_status(
            labelled, prediction, (published - started) / 1e6, total_ms, latency_ms
        )
        self._diagnostics.cloud_labelled(labelled, total_ms, latency_ms)
        if labelled.num_beyond_reach:
            self._diagnostics.points_beyond_reach(labelled.num_beyond_reach)
        if labelled.retried:
            self._log.error(
                printable(f"{labelled.retried}; labelled from LiDAR alone"),
                throttle_duration_sec=_THROTTLE,
            )
        self._tell_placement(labelled.placement)
        self._tell_device(self.device_trouble)
        self._attempt("markers or overlay", self._views.publish, labelled, prediction)
        self.saver.take(labelled, prediction, self.taxonomy.class_map, self._pipeline.settings)

    def _saved(self, path, why):
        if why:
            self._output_failed(f"saved frame {path}: {why}")
        else:
            self._log.info(f"saved {path}")

    def _tell_placement(self, placement):
        """Say once how the clouds lie to what the network knows: a warning where it is not sure."""
        if placement is None or placement is self._placement or not placement.words:
            return
        self._placement = placement
        say = self._log.info if placement.sure else self._log.warning
        say(printable(f"the network sees the clouds from: {placement.words}"))

    def _tell_device(self, trouble):
        """Say when the network moves to the CPU, and when it is back."""
        if bool(trouble) != bool(self._trouble):
            say = self._log.error if trouble else self._log.info
            say(printable(trouble or "the device answers again: labelling on it"))
        self._trouble = trouble

    def _attempt(self, what, publish, labelled, prediction):
        """Publish something beside the labelled cloud. That is out already: what fails here must
        not count as a lost cloud, nor cost the rest.
        """
        try:
            publish(labelled, prediction)
        except Exception as error:
            self._output_failed(f"{what}: {type(error).__name__}: {error}")

    def _output_failed(self, why):
        self._diagnostics.view_failed(why)
        self._log.error(printable(why), throttle_duration_sec=_THROTTLE)

    def failed(self, released, error):
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
