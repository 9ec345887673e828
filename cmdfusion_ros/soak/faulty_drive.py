"""A drive of a small robot, 10 clouds a second, in which things go wrong."""

from collections.abc import Set
from random import Random

import numpy as np

from cmdfusion_ros.soak.clock import SoakClock
from cmdfusion_ros.soak.soak_messages import (
    CAMERAS,
    camera_info,
    cloud,
    damaged,
    image,
    odd_clouds,
    stamped,
    transforms,
)
from cmdfusion_ros.soak.soaked_node import SoakNode

MS = 1_000_000
SCAN = 100 * MS
_TICK = 10 * MS
FAULTS = {
    "camera_dies": "a camera sends nothing",
    "camera_freezes": "a camera sends its last picture again and again",
    "camera_late": "pictures come 250 ms late",
    "camera_wrong_stamps": "pictures are stamped three seconds ahead",
    "camera_other_size": "pictures of another size than the calibration",
    "camera_damaged": "pictures with wrong or missing bytes",
    "camera_malformed": "bytes that are no message",
    "camera_fast": "a camera sends five times as many",
    "info_wrong": "a CameraInfo without calibration",
    "info_jumps": "another focal length with each CameraInfo",
    "tf_stops": "the moving transforms end",
    "tf_jumps": "fixed transforms change each time",
    "tf_junk": "fifty new moving frames with each cloud",
    "tf_circle": "frames that hang under each other",
    "cloud_malformed": "bytes that are no message",
    "cloud_odd": "every layout, empty, far, cut off, of another frame",
    "cloud_unstamped": "clouds without a stamp",
    "cloud_twice": "clouds come twice",
    "cloud_disorder": "clouds come out of order",
    "cloud_wild": "one stamp a day ahead",
    "cloud_burst": "eight clouds at once",
    "cloud_stops": "no clouds",
    "bag_loops": "clock and stamps go back half a minute",
    "clock_leaps": "clock and stamps go on twenty seconds",
    "clock_stands": "the ROS clock stands still",
    "clock_jitters": "the ROS clock goes back 12 ms and forth",
    "pause": "nothing comes for three seconds",
    "network_slow": "the network takes as long as five clouds need to come",
    "network_raises": "the network fails",
    "network_nan": "the network gives what is no number",
    "network_hangs": "the network does not come back",
    "paused": "the node is told to pause",
    "deactivated": "the node is deactivated and activated",
}


class FaultyDrive:
    """Plays scans to a node.

    Args:
        node, clock: what is driven. random: of this drive.

    Attributes:
        sent: clouds given to the node.
    """

    def __init__(self, node: SoakNode, clock: SoakClock, random: Random) -> None:
        self._node, self._clock, self.random = node, clock, random
        points = np.random.default_rng(0).uniform(1, 20, (12, 3))
        self._cloud, self._odd = cloud(points), odd_clouds()
        self._image, self._other_size = image(), image(size=(40, 18))
        self._infos = {name: camera_info(name) for name in CAMERAS}
        self._late: list[tuple[int, str, bytes]] = []  # (steady time, camera, image)
        self._junk = 0
        self.sent = 0
        self._frozen = self._clock.now_ros()

    def set_up(self) -> None:
        """Calibrations and transforms, as a robot sends them at its start."""
        for name in CAMERAS:
            self._node.on_camera_info(name, self._infos[name])
        self._say_place()

    def _say_place(self) -> None:
        links = [("base", "lidar", 0.0), *(("lidar", name, 0.1) for name in CAMERAS)]
        self._node.on_transforms(transforms(links), static=True)

    def begin(self, faults: Set[str]) -> None:
        """What happens once, at the start of an episode."""
        if "bag_loops" in faults:
            self._clock.offset -= 30_000 * MS
        if "clock_leaps" in faults:
            self._clock.offset += 20_000 * MS
        self._clock.stands = "clock_stands" in faults
        self._node.network.mode = (
            "raises" if "network_raises" in faults else "nan" if "network_nan" in faults else "well"
        )
        self._node.labelling.paused = "paused" in faults
        self._frozen = self._clock.now_ros()

    def end(self) -> None:
        """All is well again."""
        self.begin(frozenset())
        self._clock.jitter = 0
        self._late.clear()
        self.set_up()

    def scan(self, number: int, faults: Set[str]) -> None:
        """A tenth of a second: pictures, transforms and a cloud, with what goes wrong."""
        node, random = self._node, self.random
        if "clock_jitters" in faults:
            self._clock.jitter = 12 * MS * (number % 2)
        stamp = self._clock.now_ros()
        victims = CAMERAS[:1] if number % 20 < 10 else CAMERAS
        for name in CAMERAS:
            self._send_images(name, stamp, faults if name in victims else frozenset())
        self._send_rest(number, stamp, faults)
        if "deactivated" in faults and number % 4 == 1:
            node.deactivate()
        self._send_cloud(number, stamp, faults)
        if "deactivated" in faults and number % 4 == 1:
            node.activate()
        pause = 3_000 * MS if "pause" in faults and random.random() < 0.1 else 0
        self.let_pass(SCAN + pause)

    def _send_images(self, name: str, stamp: int, faults: Set[str]) -> None:
        node, random = self._node, self.random
        if "camera_dies" in faults:
            return
        data = stamped(self._image, stamp)
        if "camera_freezes" in faults:
            data = stamped(self._image, self._frozen)
        if "camera_wrong_stamps" in faults:
            data = stamped(self._image, stamp + 3_000 * MS)
        if "camera_other_size" in faults:
            data = stamped(self._other_size, stamp)
        if "camera_damaged" in faults:
            data = damaged(data, random)
        if "camera_malformed" in faults:
            data = random.randbytes(random.randrange(40))
        if "camera_late" in faults:
            self._late.append((self._clock.steady + 250 * MS, name, data))
            return
        node.on_image(name, data)
        if "camera_fast" in faults:
            for place in range(1, 5):
                node.on_image(name, stamped(self._image, stamp + place * 20 * MS))

    def _send_rest(self, number: int, stamp: int, faults: Set[str]) -> None:
        node, random = self._node, self.random
        if "info_wrong" in faults and number % 5 == 0:
            node.on_camera_info("front", camera_info("front", 0.0))
        elif "info_jumps" in faults:
            node.on_camera_info("front", camera_info("front", random.uniform(5, 50)))
        if "tf_stops" not in faults:
            node.on_transforms(transforms([("odom", "base", number * 0.1)], stamp), static=False)
        if "tf_jumps" in faults:
            links = [("lidar", name, random.uniform(-5, 5)) for name in CAMERAS]
            node.on_transforms(transforms(links), static=True)
        if "tf_junk" in faults:
            links = [(f"junk{self._junk + n}", f"piece{self._junk + n}", 0.0) for n in range(50)]
            self._junk += 50
            node.on_transforms(transforms(links, stamp), static=False)
        if "tf_circle" in faults and number % 5 == 0:
            links = [("left", "lidar", 0.0), ("lidar", "left", 0.0)]
            node.on_transforms(transforms(links), static=True)

    def _send_cloud(self, number: int, stamp: int, faults: Set[str]) -> None:
        node, random = self._node, self.random
        if "cloud_stops" in faults:
            return
        template = random.choice(self._odd) if "cloud_odd" in faults else self._cloud
        if "cloud_unstamped" in faults:
            stamp = 0
        if "cloud_wild" in faults and random.random() < 0.2:
            stamp += 86_400_000 * MS
        if "cloud_disorder" in faults and number % 3 == 2:
            stamp -= 150 * MS
        slow = "network_slow" in faults and number % 6 == 0
        hangs = "network_hangs" in faults and number % 10 == 0
        if slow or hangs:
            node.wait()
            node.network.go.clear()
            node.network.mode = "waits"
        self._send(
            random.randbytes(20) if "cloud_malformed" in faults else stamped(template, stamp)
        )
        if "cloud_twice" in faults:
            self._send(stamped(template, stamp))
        if "cloud_burst" in faults and number % 5 == 0:
            for place in range(1, 8):
                self._send(stamped(template, stamp + place * MS))
        if slow or hangs:
            self._pass(SCAN)
            node.wait(taken_up=True)
        if slow:
            for place in range(1, 6):
                self._pass(SCAN)
                self._send(stamped(template, stamp + (place + 1) * SCAN))
        if hangs:
            limit = node.settings.current.sync.max_job_time
            for _ in range(round(1.2 * limit * 1e9 / SCAN)):
                self._pass(SCAN)
                node.watch()
        if slow or hangs:
            node.network.mode = "well"
            node.network.go.set()

    def _send(self, data: bytes) -> None:
        self.sent += 1
        self._node.on_cloud(data)

    def let_pass(self, ns: int) -> None:
        """Let time pass; the worker ends what it has begun meanwhile."""
        self._pass(ns)
        self._node.wait()

    def _pass(self, ns: int) -> None:
        end = self._clock.steady + ns
        while self._clock.steady < end:
            self._clock.advance(min(_TICK, end - self._clock.steady))
            while self._late and self._late[0][0] <= self._clock.steady:
                _, name, data = self._late.pop(0)
                self._node.on_image(name, data)
            self._node.on_tick()
