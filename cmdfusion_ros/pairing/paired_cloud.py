"""What the synchroniser releases: a cloud, the images that go with it, and what became of each
camera.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any


class Mode(IntEnum):
    """How many cameras serve a cloud; values as in SegmentationStatus.msg."""

    LIDAR_ONLY = 0  # none, or fewer than sync.min_cameras
    PARTIAL = 1  # some
    FUSED = 2  # every enabled one


class CameraStatus(IntEnum):
    """What a camera gave to one cloud; values as in CameraState.msg. DECODE_ERROR, NO_POINTS
    and NOT_LOOKED_AT are found after the release only.
    """

    FUSED = 0
    DISABLED = 1
    NEVER_SEEN = 2
    OFFLINE = 3
    # alive, but nothing within tolerance of this cloud, or fewer than sync.min_cameras had an image
    NO_IMAGE = 4
    NO_CALIBRATION = 5
    NO_TRANSFORM = 6
    DECODE_ERROR = 7
    CLOCK_SKEW = 8  # its last images were rejected for their stamps
    NO_POINTS = 9
    NOT_LOOKED_AT = 10  # an image was there, and the network reads none (model.images)


class ReleaseReason(Enum):
    """Why a cloud was released when it was."""

    SETTLED = "settled"  # no camera could have given a nearer image
    DEADLINE = "deadline"  # max_wait was over
    BACKLOG = "backlog"  # newer clouds had to go
    # the ROS clock stood still: paused bag, or use_sim_time without /clock
    CLOCK_STALLED = "clock_stalled"


@dataclass(frozen=True)
class PairedImage:
    """An image as it was given to the synchroniser.

    Attributes:
        stamp: int ns, data time.
        image: the payload, untouched.
        offset_ns: stamp minus target time (start of the scan + time_offset of the camera), signed.
    """

    stamp: int
    image: Any = field(repr=False)
    offset_ns: int = 0


@dataclass(frozen=True)
class PairedCloud:
    """A released cloud.

    Attributes:
        stamp: int ns, data time; the time of arrival where the cloud came without a stamp.
        cloud: the payload, untouched.
        images: {camera: PairedImage} of the cameras with status FUSED, in the order of the
            settings.
        camera_states: {camera: CameraStatus} of all cameras, in that order.
        mode: Mode.
        epoch: number of resets before this cloud; results of an older epoch than the synchroniser's
            are worthless.
        sequence: number of clouds released before this one.
        wait_ns: from arrival to release, on the ROS clock; on the steady one where the ROS clock
            stood still.
        reason: ReleaseReason.
        age_ns: ROS time of arrival minus stamp; far from zero where sensor and host clocks differ.
        released_ns: when it was released, on the steady clock.
    """

    stamp: int
    cloud: Any = field(repr=False)
    images: dict[str, PairedImage]
    camera_states: dict[str, CameraStatus]
    mode: Mode
    epoch: int
    sequence: int
    wait_ns: int
    reason: ReleaseReason
    age_ns: int = 0
    released_ns: int = 0

    @property
    def deadline_hit(self) -> bool:
        """Whether the cloud was held to its deadline."""
        return self.reason in (ReleaseReason.DEADLINE, ReleaseReason.CLOCK_STALLED)


def mode_of(camera_states: Mapping[str, CameraStatus], min_cameras: int = 1) -> Mode:
    """Mode of {camera: CameraStatus}: FUSED when every camera that is not DISABLED is FUSED,
    LIDAR_ONLY when none or fewer than `min_cameras` are.
    """
    used = sum(state is CameraStatus.FUSED for state in camera_states.values())
    enabled = sum(state is not CameraStatus.DISABLED for state in camera_states.values())
    if used == 0 or used < min_cameras:
        return Mode.LIDAR_ONLY
    return Mode.FUSED if used == enabled else Mode.PARTIAL
