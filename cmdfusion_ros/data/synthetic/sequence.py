"""A drive through a made-up street as Frames: scans, pictures, labels, poses. Equal seeds give
equal bytes, in any order and on any number of processes.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property, lru_cache
from zlib import crc32

import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.config import check_settings, section, setting
from cmdfusion_ros.data.synthetic.camera import Photograph, photograph
from cmdfusion_ros.data.synthetic.lidar import Scan, lidar_pose, scan
from cmdfusion_ros.data.synthetic.light import WEATHERS, Shadows, choose_light
from cmdfusion_ros.data.synthetic.random_rig import random_rig
from cmdfusion_ros.data.synthetic.rigs import RIG_NAMES, load_rig, scaled
from cmdfusion_ros.data.synthetic.world import World, WorldSettings
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.geometry.transforms import invert, rigid, rotation_from_quaternion

RANDOM = "random"
SEQUENCE_RIGS = (*RIG_NAMES, RANDOM)
DATASET = "semantic_kitti"  # whose raw ids the labels are
_WEATHER_SHARES = (0.6, 0.2, 0.1, 0.1)  # of WEATHERS, where the seed chooses


@dataclass(frozen=True)
class SequenceSettings:
    """What drives through the street, in which weather, and how well it is calibrated."""

    rig: str = setting("kitti", "sensors of the vehicle", choices=SEQUENCE_RIGS)
    weather: str = setting("any", "light and sky; any = from the seed", choices=("any", *WEATHERS))
    image_scale: float = setting(
        1.0, "size of the images, as a share of the rig's", above=0.0, maximum=2.0
    )
    compensated: bool = setting(True, "whether the motion during a scan is taken out of its points")
    clean: bool = setting(False, "exact ranges, no lost returns, no mixed pixels")
    calibration_error_deg: float = setting(
        0.0,
        "how far cameras sway from where their calibration says, slowly",
        unit="degrees",
        minimum=0.0,
        maximum=10.0,
    )
    calibration_error_m: float = setting(
        0.0, "the same for their places", unit="m", minimum=0.0, maximum=2.0
    )
    time_offset_ms: float = setting(
        0.0,
        "how long after its stamp a picture was really taken",
        unit="ms",
        minimum=-500.0,
        maximum=500.0,
    )
    spacing: int = setting(
        1,
        "one scan is taken in so many turns of the LiDAR: few scans of much street",
        minimum=1,
        maximum=1000,
    )
    start_ns: int = setting(0, "stamp of the first scan", unit="ns", minimum=0)
    world: WorldSettings = section(WorldSettings)

    def __post_init__(self) -> None:
        check_settings(self)


class Sequence:
    """A drive.

    Args:
        seed: int >= 0. name: of the sequence; other names give other streets for one seed.
            num_scans: how many scans it has.
        settings: SequenceSettings.
    """

    def __init__(self, seed: int, name: str, num_scans: int, settings: SequenceSettings):
        if num_scans < 1:
            raise ValueError(f"sequence {name}: expected at least 1 scan, got {num_scans}")
        self.seed, self.name, self.num_scans, self.settings = seed, name, num_scans, settings
        rig = load_rig(settings.rig) if settings.rig != RANDOM else random_rig(self._rng(4))
        self.rig = rig if settings.image_scale == 1 else scaled(rig, settings.image_scale)
        self.period = settings.spacing / self.rig.lidar.rate  # seconds from scan to scan
        rng = self._rng(0)
        self.world = World(rng, num_scans * self.period, settings.world)
        weather = (
            settings.weather
            if settings.weather != "any"
            else str(rng.choice(WEATHERS, p=_WEATHER_SHARES))
        )
        self.light = choose_light(rng, weather, float(self.world.street.heading(0.0)))
        self._first_from_world = invert(lidar_pose(self.world, self.rig, 0.0))

    def _rng(self, *numbers):
        return np.random.default_rng([self.seed, crc32(self.name.encode()), *numbers])

    @cached_property
    def _shadows(self):
        return Shadows(self.light, self.world)

    def __len__(self) -> int:
        return self.num_scans

    def seconds(self, index: int) -> float:
        """Time of a scan's stamp after the start."""
        return index * self.period

    def stamp(self, index: int) -> int:
        """Stamp of a scan, ns."""
        return self.settings.start_ns + round(self.seconds(index) * 1e9)

    def world_from_lidar(self, index: int) -> np.ndarray:
        """(4, 4) pose of a scan in the frame of the first scan's LiDAR, as data sets give it."""
        return (
            np.eye(4)
            if index == 0
            else self._first_from_world @ lidar_pose(self.world, self.rig, self.seconds(index))
        )

    def scan(self, index: int) -> Scan:
        """The Scan of that number."""
        return scan(
            self.world,
            self.rig,
            self.seconds(index),
            self._rng(1, index),
            self.settings.compensated,
            self.settings.clean,
        )

    def photograph(self, index: int, camera: int) -> Photograph:
        """The Photograph that camera number `camera` of the rig takes for a scan."""
        spec = self.rig.cameras[camera]
        seconds = self.seconds(index) + spec.late_ns / 1e9 + self.settings.time_offset_ms / 1e3
        stamp = max(self.stamp(index) + spec.late_ns, 0)
        pose = self._true_pose(spec, camera, seconds)
        return photograph(
            self.world,
            self.rig,
            spec,
            self.light,
            self._shadows,
            seconds,
            stamp,
            self._rng(2, index, camera),
            pose,
        )

    def _true_pose(self, spec, camera, seconds):
        """Where the camera really is: around where it should be, swaying within half a minute."""
        degrees, metres = self.settings.calibration_error_deg, self.settings.calibration_error_m
        if not degrees and not metres:
            return spec.camera_from_lidar
        rng = self._rng(3, camera)
        phase, rate = rng.uniform(0, 2 * np.pi, 6), rng.uniform(0.2, 0.6, 6)
        sway = np.sin(phase + rate * seconds) / np.sqrt(3 / 2)
        turn = np.radians(degrees) * sway[:3]
        rotation = rotation_from_quaternion((*(turn / 2), 1.0))
        return rigid(rotation, metres * sway[3:]) @ spec.camera_from_lidar

    def frame(
        self, index: int, class_map: ClassMap, cameras: Collection[str] | None = None
    ) -> Frame:
        """A Frame with labels of `class_map`, which must fold SemanticKITTI. `cameras`: names of
        those that take a picture; None for all.
        """
        turn = self.scan(index)
        views = tuple(
            self.photograph(index, number).view
            for number, camera in enumerate(self.rig.cameras)
            if cameras is None or camera.name in cameras
        )
        return Frame(
            points=turn.points,
            intensity=turn.intensity,
            stamp=self.stamp(index),
            frame_id="lidar",
            views=views,
            labels=class_map.labels_from_raw(turn.raw, DATASET),
            instance_ids=turn.instance_ids,
            world_from_lidar=self.world_from_lidar(index),
            name=f"{self.name}/{index:06d}",
        )


@lru_cache(
    maxsize=1
)  # a world and its shadows take a second or two; a process works on one sequence at a time
def open_sequence(seed: int, name: str, num_scans: int, settings: SequenceSettings) -> Sequence:
    """The Sequence of these arguments; the last one is kept."""
    return Sequence(seed, name, num_scans, settings)
