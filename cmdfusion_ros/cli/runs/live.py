"""A bag through the running node: node, recorder and player as three processes over real ROS 2."""

import importlib.util
import time
from dataclasses import dataclass
from pathlib import Path

from cmdfusion_ros.cli.runs.domains import own_domain
from cmdfusion_ros.cli.runs.processes import (
    ProcessError,
    ProcessGroup,
    find_fastdds_profile,
    ros_environment,
)
from cmdfusion_ros.cli.runs.quiet import say_step
from cmdfusion_ros.cli.runs.record import RunRecord
from cmdfusion_ros.cli.runs.terminal import LiveLine, progress
from cmdfusion_ros.data.bags.bag_layout import BagLayout
from cmdfusion_ros.data.bags.bag_parameters import (
    node_parameters,
    write_calibration_files,
    write_parameter_file,
)
from cmdfusion_ros.labelling.offline import offline_settings, seconds_of_a_cloud

NODE = "/cmdfusion"
LABELLED_TOPIC, STATUS_TOPIC = f"{NODE}/points_labeled", f"{NODE}/status"
_RECORDED = (
    LABELLED_TOPIC,
    STATUS_TOPIC,
    f"{NODE}/markers",
    f"{NODE}/class_map",
    "/diagnostics",
    "/tf",
    "/tf_static",
)
# parameters that a robot has otherwise: no simulated time, the newest cloud first
_OF_A_REPLAY = ("use_sim_time", "diagnostics.rate", "sync.overload")
_START_TIMEOUT = 180.0  # seconds; a slow machine imports torch and loads weights in this time
# seconds of silence after the bag's end until the counts are taken as they are
_SETTLE_TIMEOUT = 15.0
# a cloud may take this much longer than measured: player, recorder and DDS want their share of the
# machine
_HEADROOM = 1.6


@dataclass(frozen=True)
class RunOptions:
    """What a run over a bag is asked for.

    Attributes:
        points: PointCloud2 topic, None for the densest. rate: times real time, or "auto". silence:
            as the player's --silence.
        checkpoint, device, backend: as the node's model.*. overload: as the node's sync.overload;
            "" for "queue" where this machine keeps up, else "latest". threads: as the node's
            model.cpu_threads.
    """

    points: str | None = None
    rate: float | str = "auto"
    silence: tuple = ()
    checkpoint: str = ""
    device: str = "auto"
    backend: str = "auto"
    overload: str = ""
    threads: int = 0

    @property
    def model(self) -> dict[str, str | int]:
        """{name: value} of the node's parameters model.*."""
        return {
            "checkpoint": self.checkpoint,
            "device": self.device,
            "backend": self.backend,
            "cpu_threads": self.threads,
        }

    @property
    def silence_arguments(self) -> tuple[str, ...]:
        """For the player."""
        return tuple(word for text in self.silence for word in ("--silence", text))


def ros_is_there() -> bool:
    """Whether rclpy can be imported, without importing it."""
    return importlib.util.find_spec("rclpy") is not None


def require_ros() -> None:
    """For measurements of the running node.

    Raises:
        ModuleNotFoundError: ROS 2 is missing.
    """
    if not ros_is_there():
        raise ModuleNotFoundError(
            "the node needs ROS 2 (rclpy), which is not installed; `cmdfusion bench inference` "
            "measures the network without it"
        )


def measure_rate(layout: BagLayout, options: RunOptions) -> tuple[float, float]:
    """(rate, seconds a cloud takes): the largest rate at which this machine keeps up with the bag,
    from labelling its first scans.
    """
    seconds = seconds_of_a_cloud(layout, offline_settings(layout, **options.model), clouds=4)
    period = layout.cloud_period_ns / 1e9
    if not seconds or not period:
        return 1.0, seconds
    return max(0.01, int(100 * period / (_HEADROOM * seconds)) / 100), seconds


def run_live(layout: BagLayout, options: RunOptions, out: Path) -> RunRecord:
    """Play the bag into the node and record what it says.

    Args:
        layout: BagLayout. options: RunOptions. out: folder for the labelled bag (`labelled`),
            parameters and logs.

    Returns:
        RunRecord.

    Raises:
        ProcessError: a process failed; its last words are in the text.
    """
    out = Path(out)
    layout.silences(options.silence)  # a wrong name is known before anything starts
    record = RunRecord(LABELLED_TOPIC, STATUS_TOPIC, layout.num_clouds)
    logs = out / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with own_domain() as domain, ProcessGroup(logs, ros_environment(domain)) as group:
        rate, overload = _rate_and_overload(layout, options)
        _start_node(group, layout, options, overload, out)
        started, cpu_before = time.monotonic(), group.cpu_seconds("node")
        _play(group, layout, options, rate, record)
        cpu_after = group.cpu_seconds("node")
        if cpu_before is not None and cpu_after is not None:
            record.node_cores = (cpu_after - cpu_before) / (time.monotonic() - started)
        _stop_all(group)
    return record


def _rate_and_overload(layout, options):
    """What `options` leave to the machine: (times real time, the node's sync.overload)."""
    if options.overload and not isinstance(options.rate, str):
        return options.rate, options.overload
    say_step("measuring how fast this machine labels a scan ...")
    fastest, seconds = measure_rate(layout, options)
    rate = min(fastest, 1.0) if isinstance(options.rate, str) else options.rate
    # Where the machine keeps up, a hiccup of it may queue: nothing is lost. Where it does not,
    # the node is on a robot: what is too late is dropped.
    overload = options.overload or ("queue" if rate <= fastest else "latest")
    print(
        f"one scan takes {seconds * 1e3:.0f} ms here: the bag is played at {rate:g} of real "
        f"time{'' if rate <= fastest else ', too fast for this machine: clouds will drop'}",
        flush=True,
    )
    return rate, overload


def _start_node(group, layout, options, overload, out):
    """Start node and recorder, and wait until the recorder hears the node."""
    calibration_files = None
    if layout.usable_cameras and importlib.util.find_spec("tf2_msgs") is None:
        calibration_files = write_calibration_files(out / "logs", layout)
        print(
            "tf2_msgs is not installed: the node gets the cameras' places from calibration files, "
            "not from /tf_static",
            flush=True,
        )
    parameters, remaps = node_parameters(layout, calibration_files)
    parameters |= {"use_sim_time": True, "diagnostics.rate": 5.0, "sync.overload": overload} | {
        f"model.{key}": value for key, value in options.model.items()
    }
    write_parameter_file(out / "node.yaml", parameters)
    live = {key: value for key, value in parameters.items() if key not in _OF_A_REPLAY}
    write_parameter_file(out / "robot.yaml", live)
    if not find_fastdds_profile():
        print(
            "the Fast DDS profile for large clouds was not found: clouds over 0.5 MB may be lost "
            "on their way",
            flush=True,
        )
    rules = [word for wanted, topic in remaps.items() for word in ("-r", f"{wanted}:={topic}")]
    ros_arguments = (
        "--ros-args",
        "-r",
        f"__node:={NODE.strip('/')}",
        "--params-file",
        out / "node.yaml",
        *rules,
    )
    group.start("node", "cmdfusion_ros.ros.node", *ros_arguments)
    topics = [word for topic in _RECORDED for word in ("--topic", topic)]
    group.start("recorder", "cmdfusion_ros.ros.recorder", out / "labelled", *topics, listen=True)
    say_step("starting the node ...")
    missing, unconfigured = {LABELLED_TOPIC, "/diagnostics"}, 0

    def is_ready(name, event):
        nonlocal unconfigured
        if event["event"] == "subscribed":
            missing.discard(event["topic"])
        states = [
            values.get("state")
            for part, values in event.get("parts", {}).items()
            if part.endswith(": pipeline")
        ]
        unconfigured += states == ["unconfigured"]
        # a lifecycle node whose configuration fails stays there, waiting for better parameters
        if unconfigured > 2:
            raise ProcessError(
                f"the node could not be configured; its last words:\n{group.log_tail('node')}"
            )
        return not missing

    group.wait_for(is_ready, _START_TIMEOUT, "the node's start")


def _play(group, layout, options, rate, record):
    """Play the bag; return when every cloud is accounted for, or nothing has changed for a
    while.
    """
    inputs = [
        layout.cloud_topic,
        *(
            topic
            for camera in layout.usable_cameras
            for topic in (camera.image_topic, camera.info_topic)
        ),
    ]
    waits = [word for topic in inputs for word in ("--wait-for", topic)]
    words = (
        layout.path,
        "--points",
        layout.cloud_topic,
        "--rate",
        rate,
        "--duration",
        layout.duration,
        *waits,
        *options.silence_arguments,
    )
    group.start("player", "cmdfusion_ros.ros.player", *words, listen=True)
    line, played, changed = LiveLine(), False, time.monotonic()
    before = None
    while not (len(record.sent) == layout.num_clouds and record.settled):
        for name, event in group.take(0.05):
            if event["event"] == "failed":
                raise ProcessError(f"the {name} failed: {event['why']}")
            played |= name == "player" and event["event"] == "done"
            if event["event"] == "skipped":
                skipped = ", ".join(
                    f"{topic} ({msgtype})" for topic, msgtype in event["topics"].items()
                )
                line.finish(f"{name}: left out: {skipped}")
            record.take(event)
            line.show(progress(record))
        if not group.running("node"):
            raise ProcessError(
                f"the node ended before the bag did; its last words:\n{group.log_tail('node')}"
            )
        now = len(record.returned), record.count("received"), sum(record.dropped.values()), played
        if now != before:
            before, changed = now, time.monotonic()
        if played and (record.settled or time.monotonic() - changed > _SETTLE_TIMEOUT):
            break
    line.finish(progress(record))


def _stop_all(group):
    """End player, recorder (which closes its bag) and node; a node that does not end cleanly is
    worth a word.
    """
    # a player that is done goes by itself
    for name, patience in (("player", 5.0), ("recorder", 0.0), ("node", 0.0)):
        code = group.stop(name, patience)
        if code:
            print(
                f"note: the {name} ended with exit code {code}; see {group.log(name)}", flush=True
            )
