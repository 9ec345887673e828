"""The settings of the synchroniser: `sync.*`, the timing part of `points.*`, and the timing part of
each camera's group.

Fields are named as the ROS parameters. Values are seconds, as people write them; the synchroniser
works in int nanoseconds (`to_ns`).
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from cmdfusion_ros.config import SettingsError, check_settings, nearest_name, setting


def to_ns(seconds: float) -> int:
    """Seconds (float) to nanoseconds (int), rounded."""
    return round(seconds * 1e9)


class LivePairing(Protocol):
    """PairingSettings that may change: LiveSettings of them, or what makes them of others."""

    @property
    def current(self) -> "PairingSettings":
        """Those in force; the same object as before where nothing changed."""


@dataclass(frozen=True)
class SyncSettings:
    """Parameters `sync.*`."""

    max_wait: float = setting(
        0.06,
        "longest time a cloud waits for images; 0 releases it as it arrives",
        "s",
        minimum=0.0,
        maximum=1.0,
    )
    tolerance: float = setting(
        0.05,
        "largest distance between an image's stamp and its target time, inclusive",
        "s",
        above=0.0,
        maximum=1.0,
    )
    offline_after: float = setting(
        1.0,
        "a camera silent for this long is offline: no cloud waits for it",
        "s",
        minimum=0.1,
        maximum=60.0,
    )
    recover_after: int = setting(
        3,
        "clouds in a row with an image in time before clouds wait for a returned camera again",
        minimum=1,
        maximum=100,
    )
    startup_grace: float = setting(
        2.0,
        "after the first cloud: how long clouds also wait for cameras that are not ready yet",
        "s",
        minimum=0.0,
        maximum=60.0,
    )
    min_cameras: int = setting(
        1, "with fewer images than this a cloud is labelled from LiDAR alone", minimum=0, maximum=32
    )
    image_queue: int = setting(8, "images kept for each camera", minimum=2, maximum=64)
    max_pending_clouds: int = setting(
        2,
        "clouds that may wait at the same time; one more releases the oldest as it is",
        minimum=1,
        maximum=16,
    )
    overload: str = setting(
        "latest",
        "worker busy: keep the newest cloud (the others are counted busy), or queue all",
        choices=("latest", "queue"),
    )
    max_cloud_age: float = setting(
        0.0,
        "clouds older than this when their turn comes are dropped as stale; 0 = off",
        "s",
        minimum=0.0,
        maximum=3600.0,
    )
    max_job_time: float = setting(
        20.0,
        "a cloud whose labelling takes longer, and five times longer than any before, is given up "
        "as stuck; 0 = off",
        "s",
        minimum=0.0,
        maximum=3600.0,
    )
    time_jump_threshold: float = setting(
        1.0,
        "a stamp this far behind the newest is a new time line, not disorder",
        "s",
        minimum=0.1,
        maximum=3600.0,
    )
    clock_skew_limit: float = setting(
        1.0,
        "images further than this from the clouds' time are rejected; 0 = off",
        "s",
        minimum=0.0,
        maximum=3600.0,
    )
    fixed_frame: str = setting(
        "",
        "frame that stands still (odom): ego motion between the two stamps is compensated; empty "
        "= static extrinsics only",
    )

    def __post_init__(self) -> None:
        check_settings(self, "sync.")


@dataclass(frozen=True)
class ScanTiming:
    """The parameters `points.*` that say which moment of a scan its stamp means."""

    stamp_reference: str = setting(
        "start", "the moment of the scan that its stamp means", choices=("start", "middle", "end")
    )
    scan_period: float = setting(0.1, "duration of one scan", "s", above=0.0, maximum=1.0)

    def __post_init__(self) -> None:
        check_settings(self, "points.")


@dataclass(frozen=True)
class CameraTiming:
    """The parameters `<cam>.*` that say which images of a camera belong to a cloud."""

    time_offset: float = setting(
        0.0,
        "stamp of the image minus start of the scan when they belong together",
        "s",
        minimum=-1.0,
        maximum=1.0,
    )
    tolerance: float = setting(
        0.0, "overrides sync.tolerance; 0 = use that", "s", minimum=0.0, maximum=1.0
    )
    stamp_source: str = setting(
        "header",
        "what dates an image: its header, or its arrival for a driver that does not stamp",
        choices=("header", "arrival"),
    )
    enabled: bool = setting(True, "whether the camera is used")

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class PairingSettings:
    """All that the synchroniser is told.

    Attributes:
        sync, scan: see there.
        cameras: {name: CameraTiming}, in the order that results keep; empty means LiDAR alone.
            Subclasses of CameraTiming are welcome.
    """

    sync: SyncSettings = field(default_factory=SyncSettings)
    scan: ScanTiming = field(default_factory=ScanTiming)
    cameras: Mapping[str, CameraTiming] = field(default_factory=dict)

    def __post_init__(self) -> None:
        most = max(1, len(self.cameras))
        if self.sync.min_cameras > most:
            raise SettingsError(
                f"sync.min_cameras: expected at most {most} for {len(self.cameras)} cameras, got "
                f"{self.sync.min_cameras}"
            )

    def with_camera(self, name: str, **changes: Any) -> "PairingSettings":
        """A copy with other values for one camera, e.g. `with_camera("front", enabled=False)`."""
        if name not in self.cameras:
            raise SettingsError(f"{name}: unknown camera{nearest_name(name, self.cameras)}")
        return dataclasses.replace(
            self, cameras={**self.cameras, name: dataclasses.replace(self.cameras[name], **changes)}
        )

    @property
    def target_shift_ns(self) -> int:
        """From a cloud's stamp to the start of its scan, int ns: 0 where the stamp means the
        start, so that offsets are camera minus cloud stamp.
        """
        halves = {"start": 0, "middle": 1, "end": 2}[self.scan.stamp_reference]
        return -halves * to_ns(self.scan.scan_period) // 2
