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
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.serialization import deserialize_message
from rclpy.time import Time

from cmdfusion_ros.config import SettingsError
from cmdfusion_ros.labelling.diagnostics.camera_diagnostics import CameraFacts
from cmdfusion_ros.labelling.diagnostics.node_diagnostics import NodeDiagnostics, NodeFacts
from cmdfusion_ros.labelling.extrinsics import Extrinsics
from cmdfusion_ros.labelling.job import Labelling, Released
from cmdfusion_ros.labelling.model import open_segmenter
from cmdfusion_ros.labelling.pipeline import Pipeline
from cmdfusion_ros.labelling.taxonomy import open_taxonomy
from cmdfusion_ros.labelling.worker import Worker
from cmdfusion_ros.messages.clouds import MessageError
from cmdfusion_ros.pairing.pairing import CloudAnchoredPairing
from cmdfusion_ros.ros.diagnostics_output import DiagnosticsOutput
from cmdfusion_ros.ros.inputs import Inputs
from cmdfusion_ros.ros.interfaces import load_interfaces
from cmdfusion_ros.ros.outputs import CloudOutputs
from cmdfusion_ros.ros.parameters import NodeParameters
from cmdfusion_ros.ros.services import Services
from cmdfusion_ros.ros.transform_source import open_transform_source
from cmdfusion_ros.ros.visuals import ViewOutputs

_SPIN = 0.5  # seconds after which a spin that nothing woke looks whether it is time to end


def transition(method):
    """A lifecycle callback that says why it failed: rclpy swallows what is raised in one. A
    reason that the user can mend leaves the state as it was.
    """

    @functools.wraps(method)
    def wrapped(self, state):
        try:
            method(self)
            return TransitionCallbackReturn.SUCCESS
        except (
            ValueError,
            OSError,
            ImportError,
            NameValidationException,
        ) as error:  # SettingsError and MessageError are ValueErrors
            self.get_logger().error(f"{method.__name__[3:]} failed: {error}")
            if self._inputs is None:  # what a failed transition had begun must not stay half built
                self._stop()
            if self._labelling is None:
                self._let_go()
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self.get_logger().error(f"{method.__name__[3:]} failed: {traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR

    return wrapped


class CmdfusionNode(LifecycleNode):
    """Configure opens the network and the publishers; activate subscribes; deactivate keeps the
    network; cleanup lets it go.
    """

    def __init__(self, **arguments):
        super().__init__("cmdfusion", **arguments)
        self._labelling = self._pairing = self._inputs = self._worker = self._transforms = (
            self._extrinsics
        ) = self._jumps = None
        self.parameters = NodeParameters(self, self._on_settings, self._check_settings)
        self.interfaces = load_interfaces()
        for line in [*self.parameters.warnings, *self.interfaces.complaints()]:
            self.get_logger().warning(line)
        self.diagnostics = NodeDiagnostics(self.settings)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._topic_facts = {}
        DiagnosticsOutput(self, self.interfaces)
        Services(self, self.interfaces)

    @property
    def settings(self):
        """NodeSettings in force."""
        return self.parameters.settings

    @property
    def labelling(self):
        """Labelling; None while the node is not configured."""
        return self._labelling

    @property
    def pairing(self):
        """CloudAnchoredPairing; None while the node is not active."""
        return self._pairing

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
            self, self.interfaces, self._make_time, self._on_static_transforms, self._warn
        )
        self._extrinsics = Extrinsics(self._transforms.buffer, settings)
        self.diagnostics.model = model
        pipeline = Pipeline(segmenter, self._extrinsics, settings, self._read_message)
        self._labelling = Labelling(
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
        self._pairing = CloudAnchoredPairing(
            settings.pairing(), self, self._on_release, self._on_reset
        )
        self._worker = Worker(
            self._labelling.label,
            self._labelling.publish,
            self._labelling.failed,
            settings.sync,
            self.now_ros,
        )
        self._worker.start()
        self._inputs = Inputs(
            self,
            self.interfaces,
            settings,
            self._pairing,
            self._extrinsics,
            self.diagnostics,
            self._steady,
        )
        threshold = JumpThreshold(
            min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
        )
        self._jumps = self.get_clock().create_jump_callback(
            threshold, post_callback=lambda jump: self._pairing.on_clock_jump()
        )

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
            stopped = self._worker.report().dropped["stopped"] + self._pairing.num_pending
            self.diagnostics.add_dropped({**self._dropped(), "stopped": stopped})
        self._inputs = self._pairing = self._worker = self._jumps = None

    def _let_go(self):
        """Undo what configuring did, as far as it got."""
        for part in (self._labelling, self._transforms):
            if part:
                part.close()
        self._labelling = self._transforms = self._extrinsics = self.diagnostics.model = None

    # ---- what happens while it runs

    def _on_release(self, paired):
        if reason := self._labelling.reason_to_skip():
            self.diagnostics.cloud_dropped(reason)
        else:
            self._worker.offer(Released(paired, time.monotonic_ns()))

    def _on_reset(self, epoch, reason):
        self.get_logger().info(f"new time line: {reason}")
        self._worker.start_epoch(epoch)
        self._transforms.buffer.clear()
        self._extrinsics.forget()
        self._labelling.clear_views()

    def _on_static_transforms(self):
        self._extrinsics.forget()
        if self._inputs:
            self._inputs.look_for_transforms()

    def _check_settings(self, settings):
        if self._labelling:
            self._labelling.taxonomy.check(settings)

    def _on_settings(self, settings):
        self.diagnostics.settings = settings
        if self._labelling:
            self._labelling.update_settings(settings)
            self._extrinsics.settings = settings
        if self._inputs:
            self._pairing.update_settings(settings.pairing())
            self._worker.update_settings(settings.sync)

    def _read_message(self, payload, kind):
        """Serialised cloud or image -> message. Raises MessageError."""
        try:
            return deserialize_message(payload.data, payload.message_class)
        except Exception as error:
            raise MessageError(f"{kind}: cannot be deserialised: {error}") from error

    def _make_time(self, stamp):
        return Time(nanoseconds=stamp, clock_type=ClockType.ROS_TIME)

    def _warn(self, line):
        self.get_logger().warning(line, throttle_duration_sec=5.0)

    # ---- diagnostics

    def look_at_topics(self):
        """Ask the ROS graph who publishes what the node listens to: too slow for each look at the
        diagnostics.
        """
        if self._inputs:
            self._topic_facts = self._inputs.publishers()

    def facts(self):
        """NodeFacts: what the diagnostics are told of the node as it is now."""
        active = self._inputs is not None
        state = "active" if active else "inactive" if self._labelling else "unconfigured"
        if active and self._labelling.paused:
            state = "paused"
        return NodeFacts(
            state=state,
            wanted=active and self._labelling.wanted,
            publishers=self._topic_facts if active else {},
            dropped=self._dropped() if active else {},
            sync=self._pairing.report() if active else None,
            cameras={camera: self._camera_facts(camera) for camera in self.settings.cameras},
        )

    def _dropped(self):
        """{reason: clouds} that synchroniser and worker dropped since activation; what failed is
        counted by its reason in the diagnostics.
        """
        worker = {
            name: count for name, count in self._worker.report().dropped.items() if name != "failed"
        }
        return dict(Counter(self._pairing.report().dropped) + Counter(worker))

    def _camera_facts(self, camera):
        if self._extrinsics is None:
            return CameraFacts(False, "", "", None, float("nan"), 0)
        return self._extrinsics.facts(camera, self._inputs.cloud_frame if self._inputs else "")


def make_executor(name):
    """The rclpy executor called `name`; auto takes the events executor where this rclpy has it:
    a message costs it a third (0.25 ms against 0.76).
    """
    if name != "single":
        try:
            from rclpy.experimental.events_executor import EventsExecutor

            return EventsExecutor()
        except ImportError:
            if name == "events":
                raise SettingsError(
                    "executor: this rclpy has no EventsExecutor; use auto or single"
                ) from None
    return SingleThreadedExecutor()


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
            # not spin(): that of Kilted's events executor never runs a callback
            executor.spin_once(timeout_sec=_SPIN)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except SettingsError as error:
        rclpy.logging.get_logger("cmdfusion").fatal(str(error))
        return 2
    except Exception:
        if rclpy.ok():
            raise
        # rclpy itself fails with an RCLError where a signal shut the context while it built a wait
        # set: that is an ordinary end
    finally:
        if node is not None:
            node.close()
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
