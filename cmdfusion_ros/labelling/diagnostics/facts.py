"""What the diagnostics are told of the node, and what they make of it: facts in, Parts out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cmdfusion_ros.labelling.worker import WorkerReport
from cmdfusion_ros.pairing.report import SyncReport

OK, WARN, ERROR = 0, 1, 2  # DiagnosticStatus levels
NOBODY = (0, "")  # publishers of a topic that is not subscribed to


@dataclass(frozen=True)
class Part:
    """One DiagnosticStatus: name, level, message, and key -> value (any plain value)."""

    name: str
    level: int
    message: str
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CameraFacts:
    """What is known of a camera's place.

    Attributes:
        calibrated: whether its lens is known. missing: why it cannot be used, "" where it can.
        frame: its optical frame. size: (width, height) of its calibration, or None.
        transform_age_s: since its transform was looked up. uncompensated: images for which the
            motion since the cloud could not be taken out.
    """

    calibrated: bool
    missing: str
    frame: str
    size: tuple[int, int] | None
    transform_age_s: float
    uncompensated: int


@dataclass(frozen=True)
class GraphFacts:
    """What the ROS graph says.

    Attributes:
        publishers: {topic as in the settings: (number of publishers, why some cannot be received
            or "")}.
        hints: {topic: what to do} where nobody publishes what is wanted.
        transforms: why transforms cannot be heard, "" where they can.
        listeners: who cannot hear the node, and why; "" where all can.
        clock_publishers: publishers of /clock where the node lives by it, else 0.
    """

    publishers: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    hints: Mapping[str, str] = field(default_factory=dict)
    transforms: str = ""
    listeners: str = ""
    clock_publishers: int = 0


@dataclass(frozen=True)
class NodeFacts:
    """What others count, as of the moment of a report.

    Attributes:
        state: "active", "paused", "inactive" or "unconfigured". wanted: whether anybody wants
            labels.
        graph: GraphFacts. dropped: {reason: clouds} of synchroniser and worker.
        sync: SyncReport, None while not active.
        cameras: {camera: CameraFacts}.
        worker: WorkerReport, None while not active.
        device_trouble: why the network runs on the CPU though another device was chosen, else "".
    """

    state: str
    wanted: bool
    graph: GraphFacts
    dropped: Mapping[str, int]
    sync: SyncReport | None
    cameras: Mapping[str, CameraFacts]
    worker: WorkerReport | None = None
    device_trouble: str = ""
