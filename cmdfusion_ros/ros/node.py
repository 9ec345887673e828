"""The ROS 2 node `cmdfusion`: clouds and images in, labelled clouds out.

Threads: the executor's takes messages and asks the synchroniser; the worker's labels and publishes;
a few decode images. None waits for another. What happens to a cloud is in `labelling/pipeline.py`
and `labelling/job.py`; here is the node's life.
"""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import rclpy
from rclpy.clock import Clock, ClockType, JumpHandle, JumpThreshold
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.time import Time

from cmdfusion_ros.config import SettingsError
from cmdfusion_ros.labelling.alignment.watch import AlignmentWatch
from cmdfusion_ros.labelling.diagnostics.facts import CameraFacts, GraphFacts, NodeFacts
from cmdfusion_ros.labelling.diagnostics.node_diagnostics import NodeDiagnostics
from cmdfusion_ros.labelling.extrinsics import Extrinsics
from cmdfusion_ros.labelling.job import Labelling
from cmdfusion_ros.labelling.model import open_segmenter
from cmdfusion_ros.labelling.pipeline import Pipeline
from cmdfusion_ros.labelling.settings import NodeSettings, PairingPart
from cmdfusion_ros.labelling.taxonomy import open_taxonomy
from cmdfusion_ros.labelling.worker import Worker, WorkerReport
from cmdfusion_ros.messages.texts import printable
from cmdfusion_ros.pairing.paired_cloud import PairedCloud
from cmdfusion_ros.pairing.pairing import CloudAnchoredPairing
from cmdfusion_ros.pairing.report import SyncReport
from cmdfusion_ros.ros.executor import end_process, make_executor, spin_once
from cmdfusion_ros.ros.graph import GraphWatch
from cmdfusion_ros.ros.guard import Guard
from cmdfusion_ros.ros.inputs import Inputs, Serialised, num_bytes, read_serialised
from cmdfusion_ros.ros.interfaces import load_interfaces
from cmdfusion_ros.ros.outputs import CloudOutputs, OutputContext
from cmdfusion_ros.ros.parameters import NodeParameters
from cmdfusion_ros.ros.reports import Reports
from cmdfusion_ros.ros.services import NodeServices
from cmdfusion_ros.ros.transform_source import NoSource, OwnSource, Tf2Source, open_transform_source
from cmdfusion_ros.ros.transitions import transition
from cmdfusion_ros.ros.visuals import ViewOutputs

# ns that the ROS clock may step back without being set back: two publishers of /clock differ so
_CLOCK_JITTER = 100_000_000


class CmdfusionNode(LifecycleNode):
    """Configure opens the network and the publishers; activate subscribes; deactivate keeps the
    network; cleanup lets it go.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__("cmdfusion", **arguments)
        self.labelling: Labelling | None = None
        self.pairing: CloudAnchoredPairing | None = None
        self._worker: Worker | None = None
        self._inputs: Inputs | None = None
        self._transforms: Tf2Source | OwnSource | NoSource | None = None
        self._extrinsics: Extrinsics | None = None
        self._jumps: JumpHandle | None = None
        self.guard = Guard(self._on_survived, self.get_logger())
        self.parameters = NodeParameters(self, self._check_settings, self.guard)
        self.interfaces = load_interfaces()
        for line in [*self.parameters.warnings, *self.interfaces.complaints()]:
            self.get_logger().warning(line)
        self.diagnostics = NodeDiagnostics(self.parameters.settings)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._graph = GraphWatch(self)
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
    def settings(self) -> NodeSettings:
        """NodeSettings in force."""
        return self.parameters.settings.current

    # ---- the clock of the synchroniser

    def now_ros(self) -> int:
        """int ns of the node's clock: of /clock with use_sim_time, and 0 before it speaks."""
        return self.get_clock().now().nanoseconds

    def now_steady(self) -> int:
        """int ns that never jump."""
        return time.monotonic_ns()

    # ---- lifecycle

    def start(self) -> bool:
        """Configure and activate. Returns whether both succeeded; the reason is in the log."""
        return (
            self.trigger_configure() == TransitionCallbackReturn.SUCCESS
            and self.trigger_activate() == TransitionCallbackReturn.SUCCESS
        )

    @transition
    def on_configure(self) -> None:
        live, settings = self.parameters.settings, self.settings
        segmenter, model = open_segmenter(settings.model)
        taxonomy = open_taxonomy(
            segmenter.class_map, settings.output.taxonomy, settings.output.palette_file
        )
        taxonomy.check(settings)
        transforms = self._transforms = open_transform_source(
            self,
            self.interfaces,
            self._make_time,
            self._on_static_transforms,
            self._warn,
            self.guard,
        )
        extrinsics = self._extrinsics = Extrinsics(transforms.buffer, live)
        self.diagnostics.model = model
        pipeline = Pipeline(segmenter, extrinsics, live, self._read_message)
        context = OutputContext(self, self.interfaces, live, taxonomy, extrinsics)
        self.labelling = Labelling(
            pipeline,
            taxonomy,
            CloudOutputs(context, model.checkpoint),
            ViewOutputs(context),
            self.diagnostics,
            live,
            self.now_ros,
            self.get_logger(),
            AlignmentWatch(extrinsics, live),
        )
        log = self.get_logger()
        log.info(
            f"network {model.checkpoint} on {model.device}, {model.backend}, "
            f"{model.num_parameters} parameters, warm scan {model.warmup_ms:.0f} ms"
        )
        log.info(f"images: {model.images}")
        self._tell_doubt(taxonomy.doubt(settings))
        log.info(f"transforms: {transforms.name}; images decoded by {pipeline.decoder_name}")
        if model.checkpoint == "fake":
            log.warning("FAKE network: every point gets the first class; the labels mean nothing")

    @transition
    def on_activate(self) -> None:
        live = self.parameters.settings
        self.diagnostics.activated()
        labelling, extrinsics = self.labelling, self._extrinsics
        assert labelling and extrinsics, "rclpy activates only what is configured"
        worker = Worker(
            labelling.pipeline,
            labelling.publish,
            labelling.failed,
            live,
            self.now_ros,
            on_stuck=self._on_stuck,
        )
        # of this activation: what comes late must not meet the next one's, or none
        pairing = CloudAnchoredPairing(
            PairingPart(live),
            self,
            lambda paired: self._release(paired, labelling, worker),
            lambda epoch, reason: self._on_reset(epoch, reason, labelling, worker, extrinsics),
        )
        self.pairing, self._worker = pairing, worker
        worker.start()
        self._inputs = Inputs(
            self,
            self.interfaces,
            live,
            pairing,
            extrinsics,
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
    def on_deactivate(self) -> None:
        self._stop()

    @transition
    def on_cleanup(self) -> None:
        self._let_go()

    @transition
    def on_shutdown(self) -> None:
        self.close()

    @transition
    def on_error(self) -> None:
        self.close()

    def close(self) -> None:
        """Stop and let go of everything, in whatever state the node is."""
        self._stop()
        self._let_go()

    def destroy_node(self) -> None:
        """Also ends the lifecycle services, which rclpy leaves to the garbage collector: until it
        came, others would see them and call them.
        """
        super().destroy_node()
        for name in [name for name in vars(self) if name.startswith("_service_")]:
            delattr(self, name)
        self.__dict__.pop("_state_machine", None)

    def _stop(self) -> None:
        """Undo what activating did, as far as it got."""
        if self._jumps:
            self._jumps.unregister()
        if self._inputs:
            self._inputs.close()
        if self._worker and self.pairing:
            if not self._worker.stop():
                self.get_logger().error("the worker did not end within 10 s")
            worker = self._worker.report()
            stopped = worker.dropped["stopped"] + self.pairing.num_pending
            dropped = _dropped(self.pairing.report(), worker)
            self.diagnostics.add_dropped({**dropped, "stopped": stopped})
        self._inputs = self.pairing = self._worker = self._jumps = None

    def _let_go(self) -> None:
        """Undo what configuring did, as far as it got."""
        if self.labelling:
            self.labelling.close()
        if self._transforms:
            self._transforms.close()
        self.labelling = self._transforms = self._extrinsics = self.diagnostics.model = None

    # ---- what happens while it runs

    def _release(self, paired: PairedCloud, labelling: Labelling, worker: Worker) -> None:
        try:
            reason = labelling.reason_to_skip(paired.stamp)
        except Exception as error:  # the pairing counts it as released: it must not vanish here
            self.guard.survived("release", error)
            reason = "release_error"
        if reason:
            self.diagnostics.cloud_dropped(reason)
        else:
            worker.offer(paired, num_bytes(paired))

    def _on_reset(
        self, epoch: int, reason: str, labelling: Labelling, worker: Worker, extrinsics: Extrinsics
    ) -> None:
        self.get_logger().info(f"new time line: {reason}", throttle_duration_sec=5.0)
        worker.start_epoch(epoch)
        extrinsics.transforms.clear()
        extrinsics.forget()
        labelling.views.clear()

    def _on_stuck(self, paired: PairedCloud, seconds: float, where: str) -> None:
        line = (
            f"cloud {paired.stamp}: not labelled after {seconds:.1f} s, at {where}; given up, "
            "the next one is taken up"
        )
        self.diagnostics.survived(line)
        self.get_logger().error(line)

    def _on_survived(self, line: str) -> None:
        if hasattr(self, "diagnostics"):  # a parameter may be refused before they are made
            self.diagnostics.survived(line)

    def _on_static_transforms(self) -> None:
        if self._extrinsics:
            self._extrinsics.forget()
        if self._inputs:
            self._inputs.look_for_transforms()

    def _check_settings(self, settings: NodeSettings) -> None:
        if self.labelling:
            taxonomy = self.labelling.taxonomy
            taxonomy.check(settings)
            if settings.filter.classes != self.settings.filter.classes:
                self._tell_doubt(taxonomy.doubt(settings))

    def _tell_doubt(self, doubt: str) -> None:
        if doubt:
            self.get_logger().warning(printable(doubt))

    def _read_message(self, payload: Serialised, kind: str) -> Any:
        """Serialised cloud or image -> message. Raises MessageError."""
        return read_serialised(payload.data, payload.message_class, kind)

    def _make_time(self, stamp: int) -> Time:
        return Time(nanoseconds=stamp, clock_type=ClockType.ROS_TIME)

    def _warn(self, line: str) -> None:
        self.get_logger().warning(printable(line), throttle_duration_sec=5.0)

    # ---- diagnostics

    def _look_around(self, is_graph_due: bool) -> None:
        """At each look of the reports."""
        if not self.context.ok():  # the process ends, and nobody can be asked any more
            return
        if self._worker:
            self._worker.watch()
        if self._inputs and (is_graph_due or self._inputs.cloud_frame is None):
            self._inputs.match_publishers()
        if is_graph_due and self._inputs:
            self._graph.look(self._inputs.subscriptions())

    def facts(self) -> NodeFacts:
        """NodeFacts: what the diagnostics are told of the node as it is now."""
        labelling, pairing, worker = self.labelling, self.pairing, self._worker
        cameras = {camera: self._camera_facts(camera) for camera in self.settings.cameras}
        trouble = labelling.pipeline.device_trouble if labelling else ""
        if not (self._inputs and labelling and pairing and worker):
            state = "inactive" if labelling else "unconfigured"
            return NodeFacts(state, False, GraphFacts(), {}, None, cameras, None, trouble)
        sync, work = pairing.report(), worker.report()
        return NodeFacts(
            state="paused" if labelling.paused else "active",
            wanted=labelling.wanted,
            graph=self._graph.facts,
            dropped=_dropped(sync, work),
            sync=sync,
            cameras=cameras,
            worker=work,
            device_trouble=trouble,
        )

    def _camera_facts(self, camera: str) -> CameraFacts:
        if self._extrinsics is None:
            return CameraFacts(False, "", "", None, float("nan"), 0)
        return self._extrinsics.facts(camera, self._inputs.cloud_frame if self._inputs else None)


def _dropped(sync: SyncReport, worker: WorkerReport) -> dict[str, int]:
    """{reason: clouds} that synchroniser and worker dropped since activation; what failed is
    counted by its reason in the diagnostics.
    """
    late = {name: count for name, count in worker.dropped.items() if name != "failed"}
    return dict(Counter(sync.dropped) + Counter(late))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM. Returns the exit code: 0 after either, 2 for
    parameters that cannot be used.
    """
    rclpy.init(args=arguments)
    node, code = None, 0
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
        code = 2
    except Exception:
        if rclpy.ok():
            raise
        # a signal shut the context while something was made with it: an ordinary end
    finally:
        if node is not None:
            node.close()
            node.destroy_node()
        rclpy.try_shutdown()
    end_process(code)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
