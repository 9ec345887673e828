"""A robot's drivers in this process, and the node beside them as a process of its own, over real
Fast DDS: what the table of faults (test/ros/test_faults.py) is played on. Needs ROS.
"""

import array
import os
import signal
import subprocess
import sys
import time

import numpy as np
import rclpy
from builders.paths import REPOSITORY
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile

from cmdfusion_ros.ros.interfaces import load_interfaces

PATIENCE = 30.0  # seconds: how long a robot waits for what must happen at once
RATE = 30.0  # clouds a second
SIZE = (64, 48)
INTERFACES = load_interfaces()
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
FUSED = 2


def start_node(environment, namespace, parameters):
    """The node as a process with {parameter: value as on a command line}; its log goes to standard
    error.
    """
    words = [word for pair in parameters.items() for word in ("-p", "{}:={}".format(*pair))]
    command = [sys.executable, "-m", "cmdfusion_ros.ros.node", "--ros-args", *words]
    if namespace:
        command += ["-r", f"__ns:={namespace}"]
    return subprocess.Popen(command, env={**os.environ, **environment})


class Robot:
    """A LiDAR and cameras that send together, 30 times a second.

    Args:
        environment: {variable: value} of the node's process.
        namespace: of the node, "" or "/name". cameras: their names. parameters: further ones.
        with_clock: whether the node lives by a /clock of ours, which begins at 1000 s.

    Attributes:
        process: the node's. sent: clouds so far. parts: {part: {key: value}} of the last
            /diagnostics, with "level" and "message". statuses: {stamp: mode}.
    """

    def __init__(self, environment, namespace="", cameras=(), with_clock=False, **parameters):
        self.cameras, self.sent, self.parts, self.statuses = cameras, 0, {}, {}
        self.clock_time = 1000 * 10**9
        self._told_at, self._last_stamp = 0.0, 0
        self.process = start_node(
            environment,
            namespace,
            {
                "model.backend": "fake",
                "output.always_publish": "true",
                "sync.overload": "queue",
                "diagnostics.rate": 10.0,
                "use_sim_time": str(with_clock).lower(),
                "cameras": f"[{','.join(cameras)}]" if cameras else '[""]',
                **{name.replace("__", "."): value for name, value in parameters.items()},
            },
        )
        # {part of the diagnostics: (level, message)}, the worst since it was last cleared
        self.complaints = {}
        self.node = rclpy.create_node("drivers", namespace=namespace or "/")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._prefix = f"{namespace}/cmdfusion: " if namespace else "cmdfusion: "
        self.base = f"{namespace}/cmdfusion"
        publisher = self.node.create_publisher
        self.points = publisher(INTERFACES.PointCloud2, "points", 100)
        self.images = {c: publisher(INTERFACES.Image, f"{c}/image_raw", 10) for c in cameras}
        self.infos = {c: publisher(INTERFACES.CameraInfo, f"{c}/camera_info", 1) for c in cameras}
        self.tf = publisher(INTERFACES.TFMessage, "/tf", 100)
        self.tf_static = publisher(INTERFACES.TFMessage, "/tf_static", LATCHED)
        self._clock = publisher(message_class("rosgraph_msgs", "Clock"), "/clock", 10)
        self._with_clock = with_clock
        subscribe = self.node.create_subscription
        subscribe(INTERFACES.DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)
        subscribe(INTERFACES.SegmentationStatus, f"{self.base}/status", self._on_status, 5000)

    def get_ready(self):
        """Wait until the node hears us, and we it; send where the cameras are."""
        self.tf_static.publish(self.transforms())
        self.until(
            lambda: (
                self.part("pipeline").get("state") == "active"
                and self.points.get_subscription_count()
                and self.node.count_publishers(f"{self.base}/status")
            ),
            "the node's start",
        )
        self.recover()

    def close(self):
        """The exit code of the node after SIGINT."""
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self._executor.shutdown()
            self.node.destroy_node()

    # ---- what it hears

    def _on_diagnostics(self, message):
        for status in message.status:
            if status.name.startswith(self._prefix):
                self.parts[status.name.removeprefix(self._prefix)] = {
                    **{pair.key: pair.value for pair in status.values},
                    "level": status.level[0],
                    "message": status.message,
                }
                self._remember(status.name.removeprefix(self._prefix), status)
                self._told_at = time.monotonic()

    def _remember(self, part, status):
        level = status.level[0]
        if level > self.complaints.get(part, (0, ""))[0]:
            self.complaints[part] = (level, status.message)

    def _on_status(self, message):
        stamp = message.header.stamp
        self.statuses[stamp.sec * 10**9 + stamp.nanosec] = message.mode

    def part(self, name):
        return self.parts.get(name, {})

    def counts(self):
        """{counter: int} of the clouds, and "lost" on the way, once none is under way any more."""
        after = time.monotonic() + 0.2
        self.until(
            lambda: self._told_at > after and int(self.part("pipeline")["waiting"]) == 0,
            "an account of all clouds",
        )
        pipeline = self.part("pipeline")
        names = ("received", "labelled", "dropped")
        counts = {name: int(pipeline[name]) for name in names}
        counts |= {k: int(v) for k, v in pipeline.items() if k.startswith("dropped.")}
        return {**counts, "lost": int(self.part("lidar")["lost"])}

    def spin(self, seconds):
        """Hear what comes for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def until(self, condition, what):
        end = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, f"the node ended with {self.process.returncode}"
            assert time.monotonic() < end, f"{what}: not within {PATIENCE:g} s; {self.parts}"
            self._executor.spin_once(timeout_sec=0.05)

    # ---- what it sends

    def now(self):
        """The time of its sensors, ns; ever later."""
        now = self.clock_time if self._with_clock else time.time_ns()
        self._last_stamp = max(now, self._last_stamp + 1) if not self._with_clock else now
        return self._last_stamp

    def tick(self, step_s=1 / RATE, at=None):
        """Let /clock go on by `step_s`; with `at` (ns) it says that and our own time stays."""
        if at is None:
            self.clock_time += round(step_s * 1e9)
        seconds, nanoseconds = divmod(self.clock_time if at is None else at, 10**9)
        message = message_class("rosgraph_msgs", "Clock")()
        message.clock = INTERFACES.Time(sec=seconds, nanosec=nanoseconds)
        self._clock.publish(message)

    def stamped(self, message, stamp, frame_id):
        message.header.stamp = INTERFACES.Time(sec=stamp // 10**9, nanosec=stamp % 10**9)
        message.header.frame_id = frame_id
        return message

    def cloud(self, stamp=None, frame_id="lidar", **changes):
        """Send a cloud of 100 points; its stamp."""
        stamp = self.now() if stamp is None else stamp
        message = self.stamped(make_cloud(), stamp, frame_id)
        for name, value in changes.items():
            setattr(message, name, value)
        self.points.publish(message)
        self.sent += 1
        return stamp

    def image(self, camera, stamp, size=SIZE, grey=128):
        width, height = size
        message = INTERFACES.Image(width=width, height=height, encoding="rgb8", step=3 * width)
        message.data = array.array("B", bytes([grey]) * (3 * width * height))
        self.images[camera].publish(self.stamped(message, max(stamp, 0), camera))

    def info(self, camera, focal=40.0):
        width, height = SIZE
        message = INTERFACES.CameraInfo(width=width, height=height, distortion_model="plumb_bob")
        message.d = [0.0] * 5
        message.k = [focal, 0.0, (width - 1) / 2, 0.0, focal, (height - 1) / 2, 0.0, 0.0, 1.0]
        message.p = [focal, 0.0, (width - 1) / 2, 0.0, 0.0, focal, (height - 1) / 2, 0.0,
                     0.0, 0.0, 1.0, 0.0]  # fmt: skip
        self.infos[camera].publish(self.stamped(message, 1, camera))

    def transforms(self, turn=(0.5, -0.5, 0.5, -0.5), shift=0.0, parent="lidar", stamp=0):
        """A TFMessage that puts the cameras at the LiDAR, looking ahead."""
        message = INTERFACES.TFMessage()
        for camera in self.cameras:
            one = message_class("geometry_msgs", "TransformStamped")(child_frame_id=camera)
            self.stamped(one, stamp, parent)
            one.transform.translation.x = shift
            rotation = one.transform.rotation
            rotation.x, rotation.y, rotation.z, rotation.w = turn
            message.transforms.append(one)
        return message

    def drive(self, number=20, images=None, infos=True, cloud=None, rate=RATE, clock=True):
        """Send `number` clouds with their images.

        Args:
            images: (number of the cloud, its stamp) -> {camera: stamp or keywords of `image`}.
            infos: whether CameraInfo goes along. cloud: sends the cloud in place of `cloud`.
            clock: whether /clock goes on.
        """
        for index in range(number):
            if self._with_clock and clock:
                self.tick()
            stamp = self.now()
            sent = dict.fromkeys(self.cameras, stamp) if images is None else images(index, stamp)
            for camera, image in sent.items():
                self.image(camera, **(image if isinstance(image, dict) else {"stamp": image}))
            for camera in self.cameras if infos else ():
                self.info(camera)
            (cloud or self.cloud)(stamp)
            self.spin(1 / rate)

    def recover(self):
        """Drive as one should until a cloud sent from now on is labelled with every camera; the
        seconds that takes.
        """
        self.statuses.clear()
        began, first = time.monotonic(), None

        def is_well():
            return any(mode == FUSED for stamp, mode in self.statuses.items() if stamp >= first)

        while first is None or not is_well():
            assert time.monotonic() - began < PATIENCE, f"no recovery; {self.parts}"
            if first is None:
                first = self.clock_time if self._with_clock else self.now()
            self.drive(1)
        return time.monotonic() - began


def make_cloud(num_points=100):
    """A PointCloud2 with x, y, z, intensity of random points."""
    values = np.random.default_rng(0).uniform(-20, 20, (num_points, 4)).astype(np.float32)
    message = INTERFACES.PointCloud2(
        height=1, width=num_points, point_step=16, row_step=16 * num_points
    )
    message.fields = [
        INTERFACES.PointField(name=name, offset=4 * index, datatype=7, count=1)
        for index, name in enumerate(("x", "y", "z", "intensity"))
    ]
    message.data = array.array("B", values.tobytes())
    return message


def message_class(package, name):
    """A message class that the node itself does not need."""
    import importlib

    return getattr(importlib.import_module(f"{package}.msg"), name)


def environment(domain):
    """Of the node's process."""
    return {
        "ROS_DOMAIN_ID": str(domain),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "FASTDDS_DEFAULT_PROFILES_FILE": str(REPOSITORY / "config" / "fastdds_large_clouds.xml"),
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
    }
