"""A made-up drive through a town at 8 m/s, with the camera `left`, which sits as it says."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.data.synthetic.sequence import Sequence, SequenceSettings
from cmdfusion_ros.data.synthetic.world import WorldSettings
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.geometry.transforms import quaternion_from_rotation
from cmdfusion_ros.messages.raw_transforms import PlainTransform
from cmdfusion_ros.messages.transforms import TransformBuffer


@dataclass(frozen=True)
class AlignedDrive:
    """frames: half a second apart. poses: (4, 4) world_from_lidar of one before, of each, and of
    one after. period: seconds.
    """

    frames: tuple[Frame, ...]
    poses: tuple[np.ndarray, ...]
    period: float

    def transforms(self) -> TransformBuffer:
        """Of lidar in odom."""
        buffer = TransformBuffer()
        self.fill(buffer)
        return buffer

    def fill(self, buffer: TransformBuffer, number: int | None = None) -> None:
        """Put the first so many poses into a buffer; None = all."""
        first = self.frames[0].stamp
        for place, pose in enumerate(self.poses[:number], -1):
            turn = quaternion_from_rotation(pose[:3, :3])
            stamp = first + round(place * self.period * 1e9)
            buffer.add_plain([PlainTransform("odom", "lidar", stamp, (*pose[:3, 3], *turn))], False)


@lru_cache(1)
def aligned_drive(scans: int = 8) -> AlignedDrive:
    """The drive, made once."""
    world = WorldSettings(place="town", speed=8.0)
    settings = SequenceSettings(
        rig="pandaset", weather="day", spacing=5, world=world, start_ns=1_700_000_000_000_000_000
    )
    sequence = Sequence(3, "aligned", scans + 2, settings)
    street = load_class_map("street")
    frames = tuple(
        replace(sequence.frame(number, street, ("left",)), frame_id="lidar")
        for number in range(1, scans + 1)
    )
    poses = tuple(sequence.world_from_lidar(number) for number in range(scans + 2))
    return AlignedDrive(frames, poses, sequence.period)
