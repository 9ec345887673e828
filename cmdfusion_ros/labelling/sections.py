"""The groups of the node's parameters, one dataclass each: name, default, unit, bounds.

A group is called a section (`output.layout` is in the section `output`). `settings.py` puts them
together. Each camera named in `cameras` has a section of its own (`front.tolerance`).
"""

from dataclasses import dataclass

from cmdfusion_ros.config import SettingsError, setting
from cmdfusion_ros.pairing.settings import CameraTiming, ScanTiming


@dataclass(frozen=True)
class ModelSettings:
    """Which network labels the points, and where it runs."""

    checkpoint: str = setting(
        "", "safetensors file of the network; empty = the weights shipped with the package"
    )
    sha256: str = setting("", "SHA-256 that the checkpoint file must have; empty = not checked")
    device: str = setting("auto", "auto, cpu, cuda or cuda:N")
    backend: str = setting(
        "auto",
        "sparse convolution backend (see cmdfusion doctor), or fake: every point gets the first "
        "class, for measuring overhead",
    )
    precision: str = setting(
        "auto",
        "of the convolutions on a CPU: bfloat16 takes two thirds of the time of float32, and some "
        "labels in a thousand differ; auto = bfloat16 where the CPU multiplies such numbers",
        choices=("auto", "float32", "bfloat16"),
    )
    images: str = setting(
        "auto",
        "whether the network looks at images; auto = unless its card says that they make its "
        "labels worse",
        choices=("auto", "on", "off"),
    )
    warmup: int = setting(
        2,
        "scans labelled before activation completes, so that the first real one is as fast as the "
        "rest",
        minimum=0,
        maximum=20,
    )
    cpu_threads: int = setting(
        0,
        "threads of the network on a CPU; 0 = as many as torch takes by itself",
        minimum=0,
        maximum=256,
    )


@dataclass(frozen=True)
class PointsSettings(ScanTiming):
    """The cloud: where it comes from, how it is read, which moment its stamp means."""

    topic: str = setting("points", "PointCloud2 input")
    intensity_field: str = setting(
        "auto",
        "name of the intensity field; auto = the first there is of intensity, intensities, "
        "reflectivity, reflectance, remission, i; none = zeros",
    )
    intensity_scale: float = setting(
        0.0, "intensity is divided by this; 0 = by datatype and range", minimum=0.0
    )
    min_range: float = setting(
        0.5, "nearer points stay unlabelled: the vehicle itself", "m", minimum=0.0
    )
    max_range: float = setting(
        0.0, "farther points stay unlabelled; 0 = no limit", "m", minimum=0.0
    )
    max_rate: float = setting(
        0.0,
        "most clouds a second that are labelled, by their stamps; the others are counted "
        "rate_limit; 0 = no limit",
        "Hz",
        minimum=0.0,
        maximum=1000.0,
    )
    frame: str = setting(
        "", "coordinate frame the network sees the points in; empty = by points.leveling"
    )
    leveling: str = setting(
        "auto",
        "what the network sees the points in while points.frame is empty: auto = z up and origin "
        "in the sensor, in metres, as the first clouds and the transforms show it; off = the cloud "
        "as it comes",
        choices=("auto", "off"),
    )


@dataclass(frozen=True)
class TransformSettings:
    """How long to wait for a transform and how often to look for a changed one."""

    timeout: float = setting(
        0.0, "how long the worker waits for a transform", "s", minimum=0.0, maximum=0.2
    )
    refresh_period: float = setting(
        5.0,
        "how often a cached extrinsic is looked up again; 0 = only when /tf_static speaks",
        "s",
        minimum=0.0,
        maximum=3600.0,
    )


@dataclass(frozen=True)
class OutputSettings:
    """What the labelled cloud looks like."""

    layout: str = setting(
        "full", "fields of ~/points_labeled", choices=("full", "minimal", "append", "autoware")
    )
    confidence_threshold: float = setting(
        0.0, "points with less confidence stay unlabelled", minimum=0.0, maximum=1.0
    )
    unlabeled_id: int = setting(
        -1,
        "label of an unlabelled point; -1 = the ignore id of the class map",
        minimum=-1,
        maximum=65535,
    )
    taxonomy: str = setting(
        "model", "class map of the published labels; model = the one the network was trained on"
    )
    palette_file: str = setting(
        "", "YAML {class name: [red, green, blue]} over the colours of the class map"
    )
    always_publish: bool = setting(False, "label clouds even while nobody subscribes")

    def __post_init__(self) -> None:
        if self.layout == "autoware" and self.unlabeled_id > 255:
            raise SettingsError(
                "output.unlabeled_id: expected at most 255 with output.layout autoware (class_id "
                f"is UINT8), got {self.unlabeled_id}"
            )


@dataclass(frozen=True)
class FilterSettings:
    """Which points ~/points_filtered leaves out."""

    classes: tuple[str, ...] = setting((), "names of the classes to leave out")
    min_probability: float = setting(
        0.8,
        "a point of these classes is left out only where the network gives its class at least this "
        "probability; unsure and unlabelled points stay, and those beside a person or two-wheeler",
        minimum=0.0,
        maximum=1.0,
    )
    ego_box: tuple[float, ...] = setting(
        (0.0,) * 6,
        "box to leave out: min x, min y, min z, max x, max y, max z; all zero = none",
        "m",
    )
    ego_frame: str = setting("", "coordinate frame of ego_box; empty = the frame of the cloud")

    def __post_init__(self) -> None:
        if len(self.ego_box) != 6 or any(
            low > high for low, high in zip(self.ego_box[:3], self.ego_box[3:], strict=True)
        ):
            raise SettingsError(
                "filter.ego_box: expected six numbers (min x, min y, min z, max x, max y, max "
                f"z), got {self.ego_box}"
            )


@dataclass(frozen=True)
class ScanSettings:
    """What ~/scan, a LaserScan for 2D stacks, is made of: points that ~/points_filtered keeps."""

    classes: tuple[str, ...] = setting(
        (),
        "classes that count, and every point of which the network is not sure "
        "(filter.min_probability); none named = all",
    )
    frame: str = setting(
        "",
        "level coordinate frame of the scan that moves with the LiDAR; empty = points.frame, or "
        "without that the frame of the cloud where it is level",
    )
    min_height: float = setting(
        0.2,
        "lower points do not count: over the ground where points.leveling has found it, else z in "
        "scan.frame",
        "m",
    )
    max_height: float = setting(2.0, "higher points do not count", "m")
    angle_increment: float = setting(
        0.5, "from one ray to the next", "degrees", minimum=0.01, maximum=90.0
    )
    min_range: float = setting(0.5, "nearer points do not count", "m", minimum=0.0)
    max_range: float = setting(50.0, "farther points do not count", "m", minimum=0.1)

    def __post_init__(self) -> None:
        for low, high in (("min_height", "max_height"), ("min_range", "max_range")):
            if not getattr(self, low) < getattr(self, high):
                raise SettingsError(
                    f"scan.{high}: expected more than scan.{low} ({getattr(self, low)} m), got "
                    f"{getattr(self, high)} m"
                )


@dataclass(frozen=True)
class MarkersSettings:
    """~/markers."""

    rate: float = setting(
        2.0, "most marker messages a second; 0 = off", "Hz", minimum=0.0, maximum=100.0
    )


@dataclass(frozen=True)
class OverlaySettings:
    """~/overlay/<camera>."""

    rate: float = setting(
        5.0, "most overlay images a second and camera; 0 = off", "Hz", minimum=0.0, maximum=100.0
    )


@dataclass(frozen=True)
class DiagnosticsSettings:
    """/diagnostics."""

    rate: float = setting(1.0, "diagnostic messages a second", "Hz", above=0.0, maximum=10.0)
    max_processing_time: float = setting(
        0.1, "a longer time from release to publishing is a WARN", "s", above=0.0, maximum=60.0
    )
    max_processing_time_duration: float = setting(
        1.0,
        "being over max_processing_time for longer is an ERROR",
        "s",
        minimum=0.0,
        maximum=3600.0,
    )
    camera_loss_level: str = setting(
        "warn", "level of a camera that stopped sending", choices=("ok", "warn", "error")
    )
    check_alignment: bool = setting(
        True,
        "judge once, by edges of clouds and images while the robot drives, whether each camera "
        "sits as its transform says; one that does not is a WARN",
    )


@dataclass(frozen=True)
class CameraSettings(CameraTiming):
    """One camera: its topics, its lens, its time. `{camera}` in a default stands for the camera's
    name.
    """

    image_topic: str = setting(
        "{camera}/image_raw", "image topic, without the /compressed of the transport"
    )
    camera_info_topic: str = setting("{camera}/camera_info", "CameraInfo topic")
    camera_info_durability: str = setting(
        "volatile",
        "transient_local for drivers that send CameraInfo once",
        choices=("volatile", "transient_local"),
    )
    transport: str = setting(
        "raw",
        "raw = Image, compressed = CompressedImage on <image_topic>/compressed",
        choices=("raw", "compressed"),
    )
    calibration_file: str = setting(
        "", "camera_calibration YAML used in place of CameraInfo; may hold the extrinsic too"
    )
    rectified: bool = setting(
        False, "the images are rectified: use the projection matrix P and no distortion"
    )
    frame: str = setting("", "optical frame of the camera; empty = the frame_id of its CameraInfo")
