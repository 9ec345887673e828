"""Every parameter of the node: name, default, unit, bounds. The ROS parameters are made from these
fields, and so is the YAML a user writes.

A section is a group of dotted parameters (`sync.max_wait`). Each camera named in `cameras` has a
group of its own (`front.tolerance`).
"""

import dataclasses
import difflib
import typing
from dataclasses import dataclass, field

from cmdfusion_ros.config import (
    SettingsError,
    check_settings,
    check_value,
    nearest_name,
    section,
    setting,
    settings_from_dict,
)
from cmdfusion_ros.pairing.settings import CameraTiming, PairingSettings, ScanTiming, SyncSettings

MAX_CAMERAS = 32  # a camera is one bit of the published uint32 camera_mask
# parameters that rclpy itself declares
FOREIGN = ("use_sim_time", "qos_overrides", "start_type_description_service")


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
        "auto", "name of the intensity field; auto = intensity, i or reflectivity; none = zeros"
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
    frame: str = setting(
        "", "coordinate frame the network sees the points in; empty = the frame of the cloud"
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

    def __post_init__(self):
        if self.layout == "autoware" and self.unlabeled_id > 255:
            raise SettingsError(
                "output.unlabeled_id: expected at most 255 with output.layout autoware (class_id "
                f"is UINT8), got {self.unlabeled_id}"
            )


@dataclass(frozen=True)
class FilterSettings:
    """Which points ~/points_filtered leaves out."""

    classes: tuple[str, ...] = setting((), "names of the classes to leave out")
    min_confidence: float = setting(
        0.0, "points with less confidence are left out", minimum=0.0, maximum=1.0
    )
    ego_box: tuple[float, ...] = setting(
        (0.0,) * 6,
        "box to leave out: min x, min y, min z, max x, max y, max z; all zero = none",
        "m",
    )
    ego_frame: str = setting("", "coordinate frame of ego_box; empty = the frame of the cloud")

    def __post_init__(self):
        if len(self.ego_box) != 6 or any(
            low > high for low, high in zip(self.ego_box[:3], self.ego_box[3:], strict=True)
        ):
            raise SettingsError(
                "filter.ego_box: expected six numbers (min x, min y, min z, max x, max y, max "
                f"z), got {self.ego_box}"
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


@dataclass(frozen=True)
class NodeSettings:
    """All parameters of the node. Build it with `node_settings`."""

    autostart: bool = setting(
        True, "configure and activate at start; false = wait for a lifecycle manager"
    )
    executor: str = setting(
        "auto",
        "rclpy executor; auto = events where this rclpy has it (cheaper), else single",
        choices=("auto", "single", "events"),
    )
    cameras: tuple[str, ...] = setting(
        (), "names of the cameras, in the order of the bits of camera_mask; none = LiDAR alone"
    )
    model: ModelSettings = section(ModelSettings)
    points: PointsSettings = section(PointsSettings)
    sync: SyncSettings = section(SyncSettings)
    tf: TransformSettings = section(TransformSettings)
    output: OutputSettings = section(OutputSettings)
    filter: FilterSettings = section(FilterSettings)
    markers: MarkersSettings = section(MarkersSettings)
    overlay: OverlaySettings = section(OverlaySettings)
    diagnostics: DiagnosticsSettings = section(DiagnosticsSettings)
    # {camera: CameraSettings}, in the order of `cameras`
    camera_settings: dict = field(default_factory=dict)

    def __post_init__(self):
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if dataclasses.is_dataclass(value):
                check_settings(value, f"{item.name}.")
            elif item.name != "camera_settings":
                check_value(item.name, value, _HINTS[item.name], item.metadata)
        _check_cameras(self.cameras)
        for camera, settings in self.camera_settings.items():
            check_settings(settings, f"{camera}.")
        if self.points.max_range and self.points.max_range <= self.points.min_range:
            raise SettingsError(
                "points.max_range: expected 0 or more than points.min_range "
                f"({self.points.min_range} m), got {self.points.max_range} m"
            )
        if self.camera_settings:
            self.pairing()  # checks sync.min_cameras against the number of cameras

    def pairing(self):
        """The part that the synchroniser is told."""
        return PairingSettings(self.sync, self.points, self.camera_settings)


_HINTS = typing.get_type_hints(NodeSettings)

# Parameters that may change while the node runs; every other one needs a restart.
LIVE = frozenset(
    "points.intensity_scale points.min_range points.max_range points.stamp_reference "
    "points.scan_period "
    "sync.max_wait sync.tolerance sync.offline_after sync.recover_after sync.min_cameras "
    "sync.max_cloud_age sync.time_jump_threshold "
    "sync.clock_skew_limit sync.fixed_frame tf.timeout tf.refresh_period "
    "output.confidence_threshold output.always_publish filter.classes "
    "filter.min_confidence filter.ego_box filter.ego_frame markers.rate overlay.rate "
    "diagnostics.rate diagnostics.max_processing_time "
    "diagnostics.max_processing_time_duration diagnostics.camera_loss_level".split()
)
LIVE_OF_CAMERA = frozenset(("time_offset", "tolerance", "enabled"))


@dataclass(frozen=True)
class Parameter:
    """One ROS parameter: its dotted name, default, type hint, the metadata of its field, and
    whether it may change at run time.
    """

    name: str
    default: object
    hint: object
    metadata: dict
    live: bool


def node_parameters():
    """The Parameters of the node itself, without those of the cameras."""
    parameters = []
    for item in dataclasses.fields(NodeSettings):
        if item.name == "camera_settings":
            continue
        if dataclasses.is_dataclass(_HINTS[item.name]):
            parameters += _parameters_of(_HINTS[item.name], f"{item.name}.", LIVE)
        else:
            parameters.append(
                Parameter(item.name, item.default, _HINTS[item.name], item.metadata, False)
            )
    return parameters


def camera_parameters(camera):
    """The Parameters of one camera."""
    live = {f"{camera}.{name}" for name in LIVE_OF_CAMERA}
    return [
        dataclasses.replace(p, default=_filled(p.default, camera))
        for p in _parameters_of(CameraSettings, f"{camera}.", live)
    ]


def _parameters_of(kind, prefix, live):
    hints = typing.get_type_hints(kind)
    return [
        Parameter(
            f"{prefix}{f.name}", f.default, hints[f.name], f.metadata, f"{prefix}{f.name}" in live
        )
        for f in dataclasses.fields(kind)
    ]


def node_settings(values):
    """NodeSettings from ROS parameters as plain values.

    Args:
        values: nested and dotted names mixed, as ROS parameter files have them; missing ones take
            their defaults. Empty strings in a list count for nothing (ROS cannot carry an empty
            list of strings).

    Raises:
        SettingsError: an unknown name (the nearest known one is named), a wrong type, a value out
            of bounds.
    """
    tree = _nested(values)
    for name in FOREIGN:
        tree.pop(name, None)
    cameras = tuple(name for name in tree.pop("cameras", ()) if name)
    _check_cameras(cameras)
    camera_settings = {}
    for camera in cameras:
        settings = settings_from_dict(CameraSettings, tree.pop(camera, {}), f"{camera}.")
        filled = {
            item.name: _filled(getattr(settings, item.name), camera)
            for item in dataclasses.fields(settings)
        }
        camera_settings[camera] = CameraSettings(**filled)
    known = {item.name for item in dataclasses.fields(NodeSettings)} - {"camera_settings"}
    for name in tree:
        if name not in known:
            raise SettingsError(
                f"{name}: neither a parameter nor one of the cameras "
                f"{list(cameras)}{nearest_name(name, known | set(cameras))}"
            )
    if "filter" in tree and "classes" in tree["filter"]:
        tree["filter"] = {
            **tree["filter"],
            "classes": tuple(name for name in tree["filter"]["classes"] if name),
        }
    settings = settings_from_dict(NodeSettings, tree)
    return dataclasses.replace(settings, cameras=cameras, camera_settings=camera_settings)


def nearest_parameter(name, cameras):
    """The known parameter whose name is nearest to `name`, or None: for a warning about a name
    nobody declared.
    """
    known = [p.name for p in node_parameters()] + [
        p.name for camera in cameras for p in camera_parameters(camera)
    ]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return near[0] if near else None


def _check_cameras(cameras):
    sections = {item.name for item in dataclasses.fields(NodeSettings)} | set(FOREIGN)
    if len(cameras) > MAX_CAMERAS:
        raise SettingsError(f"cameras: expected at most {MAX_CAMERAS}, got {len(cameras)}")
    if len(set(cameras)) != len(cameras):
        raise SettingsError(f"cameras: a name is given twice: {list(cameras)}")
    for camera in cameras:
        if not (camera.isascii() and camera.isidentifier()) or camera in sections:
            raise SettingsError(
                "cameras: expected a name of letters, digits and _ that is no group of "
                f"parameters, got {camera!r}"
            )


def _filled(value, camera):
    return value.replace("{camera}", camera) if isinstance(value, str) else value


def _nested(values):
    tree = {}
    for name, value in values.items():
        *groups, last = name.split(".")
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})
        if isinstance(value, dict):
            branch.setdefault(last, {}).update(_nested(value))
        else:
            branch[last] = value
    return tree
