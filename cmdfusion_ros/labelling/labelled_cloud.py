"""One cloud with its labels: what the pipeline gives, and what became of each camera."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cmdfusion_ros.frame import Frame, Prediction
from cmdfusion_ros.labelling.placement import Placement
from cmdfusion_ros.messages.clouds import Cloud
from cmdfusion_ros.pairing.paired_cloud import CameraStatus, Mode


@dataclass(frozen=True)
class CameraReport:
    """What one camera gave to one cloud.

    Attributes:
        name: the camera.
        status: CameraStatus.
        reason: one sentence where the camera failed; "" otherwise.
        stamp, offset_ns: of the image used, and its distance from the target time, signed; 0 where
            none was.
        num_points: points that received features from this camera.
        visible_ratio: share of the points that fall into the image, from a sample; NaN where no
            image was used.
    """

    name: str
    status: CameraStatus
    reason: str = ""
    stamp: int = 0
    offset_ns: int = 0
    num_points: int = 0
    visible_ratio: float = float("nan")

    @property
    def used(self) -> bool:
        """Whether its image went to the network."""
        return self.status in (CameraStatus.FUSED, CameraStatus.NO_POINTS)


@dataclass(frozen=True)
class Timings:
    """Milliseconds of a monotonic clock; `wait` is the synchroniser's."""

    wait: float = 0.0
    decode: float = 0.0
    preprocess: float = 0.0
    inference: float = 0.0


@dataclass(frozen=True)
class PublishTimes:
    """What is known of a cloud's times once its labels are out, ms: of making and publishing the
    outputs, since the synchroniser released it, since its stamp.
    """

    postprocess_ms: float
    total_ms: float
    latency_ms: float


@dataclass(frozen=True, eq=False)
class LabelledCloud:
    """One cloud with its labels and how they came about.

    Attributes:
        message: the PointCloud2 that came in. cloud: what was read from it.
        rows: (N,) bool, the rows of the cloud that the network saw.
        frame: the Frame it saw. prediction: of the Frame's points; bit i of its camera_mask is the
            i-th camera of the parameter `cameras`.
        mode: Mode. cameras: a CameraReport for each camera, in order.
        epoch: of the synchroniser, to tell results from before a time jump.
        taken_up_ns: when the worker took it up, steady clock.
        retried: why the network was tried again without images; "" normally.
        placement: Placement that was used, None where leveling is off.
        cloud_from_network: (4, 4) from what the network saw back to the cloud's frame, metres; None
            where they are the same, or where `points.frame` names what it saw.
        num_beyond_reach: points of the cloud that the network's grid cannot hold (kilometres away,
            or made so by a wrong transform to `points.frame`); they stay unlabelled.
    """

    message: Any = field(repr=False)
    cloud: Cloud
    rows: np.ndarray
    frame: Frame
    prediction: Prediction
    mode: Mode
    cameras: tuple[CameraReport, ...]
    epoch: int
    taken_up_ns: int
    timings: Timings
    retried: str = ""
    placement: Placement | None = None
    cloud_from_network: np.ndarray | None = None
    num_beyond_reach: int = 0
