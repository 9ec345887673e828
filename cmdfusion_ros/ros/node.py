"""The ROS 2 node `cmdfusion`: clouds and images in, labelled clouds out.

Threads: the executor's takes messages and asks the synchroniser; the worker's labels and publishes;
a few decode images. None waits for another. What happens to a cloud is in `labelling/pipeline.py`
and `labelling/job.py`; here is the node's life.
"""

import functools
import time
import traceback
from collections import Counter

import rclpy
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.exceptions import NameValidationException
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.time import Time

from cmdfusion_ros.config import SettingsError
from cmdfusion_ros.labelling.diagnostics.facts import CameraFacts, NodeFacts
from cmdfusion_ros.labelling.diagnostics.node_diagnostics import NodeDiagnostics
from cmdfusion_ros.labelling.extrinsics import Extrinsics
from cmdfusion_ros.labelling.job import Labelling, Released
from cmdfusion_ros.labelling.model import open_segmenter
from cmdfusion_ros.labelling.pipeline import Pipeline
from cmdfusion_ros.labelling.taxonomy import open_taxonomy
from cmdfusion_ros.labelling.worker import Worker
from cmdfusion_ros.messages.texts import printable
from cmdfusion_ros.pairing.pairing import CloudAnchoredPairing
from cmdfusion_ros.ros.executor import make_executor, spin_once
from cmdfusion_ros.ros.guard import Guard
from cmdfusion_ros.ros.inputs import Inputs, num_bytes, read_serialised
from cmdfusion_ros.ros.interfaces import load_interfaces
from cmdfusion_ros.ros.outputs import CloudOutputs
from cmdfusion_ros.ros.parameters import NodeParameters
from cmdfusion_ros.ros.reports import Reports
from cmdfusion_ros.ros.services import NodeServices
from cmdfusion_ros.ros.transform_source import open_transform_source
from cmdfusion_ros.ros.visuals import ViewOutputs

# ns that the ROS clock may step back without being set back: two publishers of /clock differ so
_CLOCK_JITTER = 100_000_000


def transition(method):
    """A lifecycle callback that says why it failed: rclpy swallows what is raised in one. A
    reason that the user can mend leaves the state as it was.
    """

    @functools.wraps(method)
    def wrapped(self, state):
        name = method.__name__[3:]
        try:
            method(self)
            if name in ("configure", "activate", "cleanup"):
                self.diagnostics.transition_failed("")
            return TransitionCallbackReturn.SUCCESS
        except (
            ValueError,
            OSError,
            ImportError,
            NameValidationException,
        ) as error:  # SettingsError and MessageError are ValueErrors
            self.get_logger().error(f"{name} failed: {error}")
            self.diagnostics.transition_failed(f"{name} failed: {error}")
            if self._inputs is None:  # what a failed transition had begun must not stay half built
                self._stop()
            if self.labelling is None:
                self._let_go()
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            self.get_logger().error(f"{name} failed: {traceback.format_exc()}")
            self.diagnostics.transition_failed(f"{name} failed: {type(error).__name__}: {error}")
            return TransitionCallbackReturn.ERROR

    return wrapped


class CmdfusionNode(LifecycleNode):
    """Configure opens the network and the publishers; activate subscribes; deactivate keeps the
    network; cleanup lets it go.
    """

    def __init__(self, **arguments):
        super().__init__("cmdfusion", **arguments)
        self.labelling = self.pairing = self._inputs = self._worker = self._transforms = (
            self._extrinsics
        ) = self._jumps = None
        self.guard = Guard(self._on_survived, self.get_logger())
        self.diagnostics = None
        self.parameters = NodeParameters(self, self._on_settings, self._check_settings, self.guard)
        self.interfaces = load_interfaces()
        for line in [*self.parameters.warnings, *self.interfaces.complaints()]:
            self.get_logger().warning(line)
        self.diagnostics = NodeDiagnostics(self.settings)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._topic_facts = {}
        self._clock_publishers = 0
        self._own_services = NodeServices(self, self.interfaces, self.guard)
        self.reports = Reports(
            self,
            self.interfaces,
            self.diagnostics,
            self.guard,
            self._steady,
            self._look_around,
            self.facts,
        )

    @property
    def settings(self):
        """NodeSettings in force."""
        return self.parameters.settings

    # ---- the clock of the synchroniser

    def now_ros(self):
        """int ns of the node's clock: of /clock with use_sim_time, and 0 before it speaks."""
        return self.get_clock().now().nanoseconds

    def now_steady(self):
        """int ns that never jump."""
        return time.monotonic_ns()

    # ---- lifecycle

    def start(self):
        """Configure and activate. Returns whether both succeeded; the reason is in the log."""
        return (
            self.trigger_configure() == TransitionCallbackReturn.SUCCESS
            and self.trigger_activate() == TransitionCallbackReturn.SUCCESS
        )

    @transition
    def on_configure(self):
        settings = self.settings
        segmenter, model = open_segmenter(settings.model)
        taxonomy = open_taxonomy(
            segmenter.class_map, settings.output.taxonomy, settings.output.palette_file
        )
        taxonomy.check(settings)
        self._transforms = open_transform_source(
            self,
            self.interfaces,
            self._make_time,
            self._on_static_transforms,
            self._warn,
            self.guard,
        )
        self._extrinsics = Extrinsics(self._transforms.buffer, settings)
        self.diagnostics.model = model
        pipeline = Pipeline(segmenter, self._extrinsics, settings, self._read_message)
        self.labelling = Labelling(
            pipeline,
            taxonomy,
            CloudOutputs(
                self, self.interfaces, settings, taxonomy, model.checkpoint, self._extrinsics
            ),
            ViewOutputs(self, self.interfaces, settings, taxonomy, self._extrinsics),
            self.diagnostics,
            self.now_ros,
            self.get_logger(),
        )
        log = self.get_logger()
        log.info(
            f"network {model.checkpoint} on {model.device}, {model.backend}, "
            f"{model.num_parameters} parameters, warm scan {model.warmup_ms:.0f} ms"
        )
        log.info(f"images: {model.images}")
        log.info(f"transforms: {self._transforms.name}; images decoded by {pipeline.decoder_name}")
        if model.checkpoint == "fake":
            log.warning("FAKE network: every point gets the first class; the labels mean nothing")

    @transition
    def on_activate(self):
        settings = self.settings
        self.diagnostics.activated()
        labelling = self.labelling
        worker = Worker(
            labelling.label,
            labelling.publish,
            labelling.failed,
            settings.sync,
            self.now_ros,
            on_stuck=self._on_stuck,
        )
        # of this activation: what comes late must not meet the next one's, or none
        pairing = CloudAnchoredPairing(
            settings.pairing(),
            self,
            lambda paired: self._release(paired, labelling, worker),
            lambda epoch, reason: self._on_reset(epoch, reason, labelling, worker),
        )
        self.pairing, self._worker = pairing, worker
        worker.start()
        self._inputs = Inputs(
            self,
            self.interfaces,
            settings,
            pairing,
            self._extrinsics,
            self.diagnostics,
            self._steady,
            self.guard,
        )
        threshold = JumpThreshold(
            min_forward=None,
            min_backward=Duration(nanoseconds=-_CLOCK_JITTER),
            on_clock_change=True,
        )
        on_jump = self.guard.callback("clock jump", lambda jump: pairing.on_clock_jump())
        self._jumps = self.get_clock().create_jump_callback(threshold, post_callback=on_jump)

    @transition
    def on_deactivate(self):
        self._stop()

    @transition
    def on_cleanup(self):
        self._let_go()

    @transition
    def on_shutdown(self):
        self.close()

    @transition
    def on_error(self):
        self.close()

    def close(self):
        """Stop and let go of everything, in whatever state the node is."""
        self._stop()
        self._let_go()

    def _stop(self):
        """Undo what activating did, as far as it got."""
        if self._jumps:
            self._jumps.unregister()
        if self._inputs:
            self._inputs.close()
        if self._worker:
            if not self._worker.stop():
                self.get_logger().error("the worker did not end within 10 s")
            stopped = self._worker.report().dropped["stopped"] + self.pairing.num_pending
            self.diagnostics.add_dropped({**self._dropped(), "stopped": stopped})
        self._inputs = self.pairing = self._worker = self._jumps = None

    def _let_go(self):
        """Undo what configuring did, as far as it got."""
        for part in (self.labelling, self._transforms):
            if part:
                part.close()
        self.labelling = self._transforms = self._extrinsics = self.diagnostics.model = None

    # ---- what happens while it runs

    def _release(self, paired, labelling, worker):
        try:
            reason = labelling.reason_to_skip()
        except Exception as error:  # the pairing counts it as released: it must not vanish here
            self.guard.survived("release", error)
            reason = "release_error"
        if reason:
            self.diagnostics.cloud_dropped(reason)
        else:
            worker.offer(Released(paired, time.monotonic_ns(), num_bytes(paired)))

    def _on_reset(self, epoch, reason, labelling, worker):
        self.get_logger().info(f"new time line: {reason}", throttle_duration_sec=5.0)
        worker.start_epoch(epoch)
        self._transforms.buffer.clear()
        self._extrinsics.forget()
        labelling.clear_views()

    def _on_stuck(self, released, seconds, where):
        line = (
            f"cloud {released.stamp}: not labelled after {seconds:.1f} s, at {where}; given up, "
            "the next one is taken up"
        )
        self.diagnostics.survived(line)
        self.get_logger().error(line)

    def _on_survived(self, line):
        if self.diagnostics:
            self.diagnostics.survived(line)

    def _on_static_transforms(self):
        self._extrinsics.forget()
        if self._inputs:
            self._inputs.look_for_transforms()

    def _check_settings(self, settings):
        if self.labelling:
            self.labelling.taxonomy.check(settings)

    def _on_settings(self, settings):
        self.diagnostics.settings = settings
        if self.labelling:
            self.labelling.update_settings(settings)
            self._extrinsics.settings = settings
        if self._inputs:
            self.pairing.update_settings(settings.pairing())
            self._worker.update_settings(settings.sync)

    def _read_message(self, payload, kind):
        """Serialised cloud or image -> message. Raises MessageError."""
        return read_serialised(payload.data, payload.message_class, kind)

    def _make_time(self, stamp):
        return Time(nanoseconds=stamp, clock_type=ClockType.ROS_TIME)

    def _warn(self, line):
        self.get_logger().warning(printable(line), throttle_duration_sec=5.0)

    # ---- diagnostics

    def _look_around(self, is_graph_due):
        """At each look of the reports."""
        if self._worker:
            self._worker.watch()
        if self._inputs and (is_graph_due or not self._inputs.cloud_frame):
            self._inputs.match_publishers()
        if is_graph_due and self._inputs:
            self._topic_facts = self._inputs.publishers()
        if is_graph_due:
            uses_clock = self.get_parameter("use_sim_time").value
            self._clock_publishers = self.count_publishers("/clock") if uses_clock else 0

    def facts(self):
        """NodeFacts: what the diagnostics are told of the node as it is now."""
        active = self._inputs is not None
        state = "active" if active else "inactive" if self.labelling else "unconfigured"
        if active and self.labelling.paused:
            state = "paused"
        return NodeFacts(
            state=state,
            wanted=active and self.labelling.wanted,
            publishers=self._topic_facts if active else {},
            dropped=self._dropped() if active else {},
            sync=self.pairing.report() if active else None,
            cameras={camera: self._camera_facts(camera) for camera in self.settings.cameras},
            worker=self._worker.report() if active else None,
            clock_publishers=self._clock_publishers,
            device_trouble=self.labelling.device_trouble if self.labelling else "",
        )

    def _dropped(self):
        """{reason: clouds} that synchroniser and worker dropped since activation; what failed is
        counted by its reason in the diagnostics.
        """
        worker = {
            name: count for name, count in self._worker.report().dropped.items() if name != "failed"
        }
        return dict(Counter(self.pairing.report().dropped) + Counter(worker))

    def _camera_facts(self, camera):
        if self._extrinsics is None:
            return CameraFacts(False, "", "", None, float("nan"), 0)
        return self._extrinsics.facts(camera, self._inputs.cloud_frame if self._inputs else "")


def main(arguments=None):
    """Run the node until SIGINT or SIGTERM. Returns the exit code: 0 after either, 2 for
    parameters that cannot be used.
    """
    rclpy.init(args=arguments)
    node = None
    try:
        node = CmdfusionNode()
        executor = make_executor(node.settings.executor)
        executor.add_node(node)
        if node.settings.autostart:
            node.start()
        while rclpy.ok():
            spin_once(executor, node.guard, node.reports)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except SettingsError as error:
        rclpy.logging.get_logger("cmdfusion").fatal(str(error))
        return 2
    finally:
        if node is not None:
            node.close()
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
