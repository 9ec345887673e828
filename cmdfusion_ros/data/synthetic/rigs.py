"""Sensors and where they sit. Frames: vehicle (x forward, y left, z up, on the road), LiDAR
(axes as the vehicle), camera (optical).
"""

from dataclasses import dataclass, replace

import numpy as np

from cmdfusion_ros.frame import Distortion
from cmdfusion_ros.geometry.transforms import (
    invert,
    pitch_rotation,
    rigid,
    roll_rotation,
    yaw_rotation,
)

_OPTICAL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # body_from_optical


@dataclass(frozen=True)
class LidarRig:
    """A spinning LiDAR.

    Attributes:
        elevation: degrees of its beams, descending. columns: firings a turn. rate: turns a
            second. height: metres above the road. reach: metres. least: metres, nearer returns
            are dropped. noise: metres, of ranges (one sigma).
        gain, gamma: what the sensor reports of a reflectance v is gain * v ** gamma, at most 1.
            The HDL-64E of KITTI spreads dull things over 0.1 to 0.5; the others' scale is made
            for reflectors, and asphalt sends 0.03.
        roll, pitch: degrees that it is turned from the vehicle's axes; positive pitch looks down.
        field: degrees in azimuth that it looks at, in the middle of which is ahead.
        falloff: intensity falls with range to this power from 10 m on, where the sensor does not
            make good for it. near_gain: what it reports too much (or too little) close by, as a
            share; gone at some 6 m. dropout: share of returns lost without reason.
    """

    elevation: tuple
    columns: int
    rate: float
    height: float
    reach: float
    least: float
    noise: float
    gain: float = 1.0
    gamma: float = 1.0
    roll: float = 0.0
    pitch: float = 0.0
    field: float = 360.0
    falloff: float = 0.0
    near_gain: float = 0.0
    dropout: float = 0.0

    @property
    def vehicle_from_lidar(self) -> np.ndarray:
        """(4, 4) float64."""
        roll, pitch = np.radians(self.roll), np.radians(self.pitch)
        turn = pitch_rotation(pitch) @ roll_rotation(roll)
        return rigid(turn, (0.0, 0.0, self.height))


@dataclass(frozen=True)
class CameraRig:
    """A camera.

    Attributes:
        name. size: (width, height) pixels. focal: pixels. centre: (u, v) of the optical axis; None
        for the middle. yaw: degrees to the left.
        place: metres, in the LiDAR frame. distortion: Distortion or None. late_ns: of its stamp
            after the scan's.
    """

    name: str
    size: tuple
    focal: float
    yaw: float
    place: tuple
    centre: tuple | None = None
    distortion: Distortion | None = None
    late_ns: int = 0

    @property
    def intrinsic(self) -> np.ndarray:
        """(3, 3) float64."""
        u, v = self.centre or ((self.size[0] - 1) / 2, (self.size[1] - 1) / 2)
        return np.array([[self.focal, 0, u], [0, self.focal, v], [0, 0, 1.0]])

    @property
    def camera_from_lidar(self) -> np.ndarray:
        """(4, 4) float64."""
        return invert(rigid(yaw_rotation(np.radians(self.yaw)) @ _OPTICAL, self.place))


@dataclass(frozen=True)
class Rig:
    """The sensors of one vehicle: a LidarRig and CameraRigs."""

    name: str
    lidar: LidarRig
    cameras: tuple


def hdl64_beams() -> tuple[float, ...]:
    """Velodyne HDL-64E: 32 beams a third of a degree apart above 32 half a degree apart."""
    return tuple(np.concatenate([2.0 - np.arange(32) / 3, -8.83 - np.arange(32) * 0.5]))


def pandar64_beams() -> tuple[float, ...]:
    """Hesai Pandar64: 0.167 degrees apart from +2 to -6, about a degree and more outside."""
    return tuple(
        np.concatenate(
            [
                (14.9, 11.0, 8.1, 5.1, 3.0),
                2.03 - np.arange(49) / 6,
                (-7.0, -8.0, -9.0, -10.0, -11.0, -12.0, -13.0, -14.0, -19.0, -25.0),
            ]
        )
    )


_NUSCENES_CAMERAS = (  # name, focal, yaw, place
    ("front", 1266.0, 0.0, (0.75, 0.0, -0.33)),
    ("front_left", 1272.0, 55.0, (0.60, 0.48, -0.33)),
    ("front_right", 1261.0, -55.0, (0.60, -0.48, -0.33)),
    ("left", 1257.0, 110.0, (0.10, 0.48, -0.30)),
    ("right", 1260.0, -110.0, (0.10, -0.48, -0.30)),
    ("back", 809.0, 180.0, (-0.95, 0.0, -0.32)),
)


def _turn_order_ns(yaw, rate):
    """When a turning LiDAR looks along `yaw` degrees, after the middle of its turn, in which it
    looks ahead.
    """
    return round(-((yaw + 180) % 360 - 180) / 360 / rate * 1e9)


def _surround(size, scale, rate, distortion=None):
    return tuple(
        CameraRig(
            name,
            size,
            focal * scale,
            yaw,
            place,
            None,
            distortion,
            0 if name == "front" else _turn_order_ns(yaw if yaw < 180 else -179.9, rate),
        )
        for name, focal, yaw, place in _NUSCENES_CAMERAS
    )


# Gain and gamma: what takes KITTI's road (0.28), walls (0.36) and signs (0.7) to PandaSet's
# (0.03, 0.09, 0.7).
_LINEAR = (2.0, 3.0)
RIG_NAMES = ("kitti", "nuscenes", "pandaset", "demo")


def load_rig(name: str) -> Rig:
    """The Rig of that name, one of RIG_NAMES; "demo" is the smallest: 32 beams and six small
    images through a bending lens.
    """
    front = CameraRig("image_2", (1242, 375), 718.9, 0.0, (0.27, 0.06, -0.08), (607.2, 185.2))
    hdl32 = tuple(10.67 - np.arange(32) * 4 / 3)
    wide = Distortion("plumb_bob", (-0.22, 0.05, 0.0006, -0.0004, -0.004))
    rigs = {
        "kitti": Rig(
            "kitti", LidarRig(hdl64_beams(), 2000, 10.0, 1.73, 80.0, 2.6, 0.018), (front,)
        ),
        "nuscenes": Rig(
            "nuscenes",
            LidarRig(hdl32, 1084, 20.0, 1.84, 75.0, 1.0, 0.02, *_LINEAR),
            _surround((1600, 900), 1.0, 20.0),
        ),
        "pandaset": Rig(
            "pandaset",
            LidarRig(pandar64_beams(), 1800, 10.0, 2.23, 110.0, 1.5, 0.02, *_LINEAR),
            _surround((960, 540), 0.6, 10.0),
        ),
        "demo": Rig(
            "demo",
            LidarRig(hdl32, 1000, 10.0, 1.84, 70.0, 1.5, 0.02, *_LINEAR),
            _surround((352, 198), 0.22, 10.0, wide),
        ),
    }
    if name not in rigs:
        raise ValueError(f"rig: expected one of {', '.join(RIG_NAMES)}, got {name!r}")
    return rigs[name]


def scaled(rig: Rig, share: float) -> Rig:
    """The rig with images of `share` times the size."""
    cameras = []
    for camera in rig.cameras:
        size = tuple(max(8, round(edge * share)) for edge in camera.size)
        u, v = camera.intrinsic[0, 2], camera.intrinsic[1, 2]
        centre = (
            (u + 0.5) * size[0] / camera.size[0] - 0.5,
            (v + 0.5) * size[1] / camera.size[1] - 0.5,
        )
        cameras.append(replace(camera, size=size, focal=camera.focal * share, centre=centre))
    return replace(rig, cameras=tuple(cameras))
