"""How a stream of clouds lies to what the networks know: what `NetworkFrame` finds."""

from dataclasses import dataclass, field

import numpy as np

from cmdfusion_ros.geometry.leveling import UNITS


@dataclass(frozen=True, eq=False)
class Placement:
    """How a stream of clouds lies to what the network expects.

    Attributes:
        sure: whether anything was found; where not, the cloud stays as it came.
        scale: metres in a unit of the cloud.
        network_from_sensor: (4, 4) float64, metres.
        sensor_frame: frame by transforms in which the beams begin; "" for a fixed place in the
            cloud's own frame.
        sensor_from_cloud: (4, 4) float64 where `sensor_frame` is "".
        follows: whether the place moves through the cloud's frame and no transform says how.
        height: metres over the ground as the network sees it; NaN where no ground was seen.
        found_height: metres that the sensor is over the ground.
        tilt_deg: between the cloud's (or the sensor's) z axis and up.
        words: one sentence for a person.
    """

    sure: bool
    scale: float = 1.0
    network_from_sensor: np.ndarray = field(default_factory=lambda: np.eye(4))
    sensor_frame: str = ""
    sensor_from_cloud: np.ndarray = field(default_factory=lambda: np.eye(4))
    follows: bool = False
    height: float = float("nan")
    found_height: float = float("nan")
    tilt_deg: float = 0.0
    words: str = ""

    @property
    def unit(self) -> str:
        return next(name for name, scale in UNITS.items() if scale == self.scale)

    @property
    def changes(self) -> bool:
        """Whether the network sees anything but the cloud as it came."""
        return self.sure and not (
            self.scale == 1.0
            and not self.sensor_frame
            and not self.follows
            and np.allclose(self.network_from_sensor, np.eye(4), atol=1e-9)
            and np.allclose(self.sensor_from_cloud, np.eye(4), atol=1e-9)
        )
