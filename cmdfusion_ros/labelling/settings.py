"""Every parameter of the node, put together from its sections. The ROS parameters are made from
these fields, and so is the YAML a user writes.
"""

import dataclasses
import difflib
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cmdfusion_ros.config import (
    LiveSettings,
    SettingsError,
    check_settings,
    check_value,
    nearest_name,
    section,
    setting,
    settings_from_dict,
)
from cmdfusion_ros.frame import MAX_CAMERAS
from cmdfusion_ros.labelling.sections import (
    CameraSettings,
    DiagnosticsSettings,
    FilterSettings,
    MarkersSettings,
    ModelSettings,
    OutputSettings,
    OverlaySettings,
    PointsSettings,
    ScanSettings,
    TransformSettings,
)
from cmdfusion_ros.pairing.settings import PairingSettings, SyncSettings

# parameters that rclpy itself declares
FOREIGN = ("use_sim_time", "qos_overrides", "start_type_description_service")


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
    scan: ScanSettings = section(ScanSettings)
    markers: MarkersSettings = section(MarkersSettings)
    overlay: OverlaySettings = section(OverlaySettings)
    diagnostics: DiagnosticsSettings = section(DiagnosticsSettings)
    # {camera: CameraSettings}, in the order of `cameras`
    camera_settings: dict[str, CameraSettings] = field(default_factory=dict)

    def __post_init__(self) -> None:
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

    def pairing(self) -> PairingSettings:
        """The part that the synchroniser is told."""
        return PairingSettings(self.sync, self.points, self.camera_settings)


class PairingPart:
    """The synchroniser's part of live NodeSettings; made anew only where those changed."""

    def __init__(self, settings: LiveSettings[NodeSettings]) -> None:
        self._settings = settings
        self._made = (settings.current, settings.current.pairing())

    @property
    def current(self) -> PairingSettings:
        """PairingSettings in force."""
        whole, part = self._made
        if self._settings.current is not whole:
            whole = self._settings.current
            part = whole.pairing()
            self._made = whole, part
        return part


_HINTS = typing.get_type_hints(NodeSettings)

# Parameters that may change while the node runs; every other one needs a restart.
LIVE = frozenset(
    "points.intensity_scale points.min_range points.max_range points.max_rate "
    "points.stamp_reference points.scan_period "
    "sync.max_wait sync.tolerance sync.offline_after sync.recover_after sync.min_cameras "
    "sync.max_cloud_age sync.max_job_time sync.time_jump_threshold "
    "sync.clock_skew_limit sync.fixed_frame tf.timeout tf.refresh_period "
    "output.confidence_threshold output.always_publish filter.classes "
    "filter.min_probability filter.ego_box filter.ego_frame "
    "scan.classes scan.frame scan.min_height scan.max_height scan.angle_increment scan.min_range "
    "scan.max_range markers.rate overlay.rate "
    "diagnostics.rate diagnostics.max_processing_time "
    "diagnostics.max_processing_time_duration diagnostics.camera_loss_level "
    "diagnostics.check_alignment".split()
)
LIVE_OF_CAMERA = frozenset(("time_offset", "tolerance", "enabled"))


@dataclass(frozen=True)
class Parameter:
    """One ROS parameter: its dotted name, default, type hint, the metadata of its field, and
    whether it may change at run time.
    """

    name: str
    default: Any
    hint: Any
    metadata: Mapping[str, Any]
    live: bool


def node_parameters() -> list[Parameter]:
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


def camera_parameters(camera: str) -> list[Parameter]:
    """The Parameters of one camera."""
    live = {f"{camera}.{name}" for name in LIVE_OF_CAMERA}
    return [
        dataclasses.replace(p, default=_filled(p.default, camera))
        for p in _parameters_of(CameraSettings, f"{camera}.", live)
    ]


def _parameters_of(kind: type, prefix: str, live: Collection[str]) -> list[Parameter]:
    hints = typing.get_type_hints(kind)
    return [
        Parameter(
            f"{prefix}{f.name}", f.default, hints[f.name], f.metadata, f"{prefix}{f.name}" in live
        )
        for f in dataclasses.fields(kind)
    ]


def node_settings(values: Mapping[str, Any]) -> NodeSettings:
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
    cameras = tuple(name for name in _list_of_names(tree.pop("cameras", ()), "cameras") if name)
    _check_cameras(cameras)
    camera_settings = {}
    for camera in cameras:
        own = settings_from_dict(CameraSettings, tree.pop(camera, {}), f"{camera}.")
        filled = {
            item.name: _filled(getattr(own, item.name), camera) for item in dataclasses.fields(own)
        }
        camera_settings[camera] = CameraSettings(**filled)
    known = {item.name for item in dataclasses.fields(NodeSettings)} - {"camera_settings"}
    for name in tree:
        if name not in known:
            raise SettingsError(
                f"{name}: neither a parameter nor one of the cameras "
                f"{list(cameras)}{nearest_name(name, known | set(cameras))}"
            )
    for part in ("filter", "scan"):
        if isinstance(tree.get(part), dict) and "classes" in tree[part]:
            classes = _list_of_names(tree[part]["classes"], f"{part}.classes")
            tree[part] = {**tree[part], "classes": tuple(name for name in classes if name)}
    settings = settings_from_dict(NodeSettings, tree)
    return dataclasses.replace(settings, cameras=cameras, camera_settings=camera_settings)


def nearest_parameter(name: str, cameras: Iterable[str]) -> str | None:
    """The known parameter whose name is nearest to `name`, or None: for a warning about a name
    nobody declared.
    """
    known = [p.name for p in node_parameters()] + [
        p.name for camera in cameras for p in camera_parameters(camera)
    ]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return near[0] if near else None


def _list_of_names(value: Any, where: str) -> Sequence[str]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        raise SettingsError(f"{where}: expected a list of names, got {value!r:.80}")
    return value


def _check_cameras(cameras: Sequence[str]) -> None:
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


def _filled(value: Any, camera: str) -> Any:
    return value.replace("{camera}", camera) if isinstance(value, str) else value


def _nested(values: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """A tree of dicts from names with dots in them; SettingsError for a name that is both a group
    and a value.
    """
    tree: dict[str, Any] = {}
    for name, value in values.items():
        *groups, last = str(name).split(".")
        branch = tree
        for group in groups:
            branch = _branch(branch, group, f"{where}{name}")
        if isinstance(value, dict):
            _branch(branch, last, f"{where}{name}").update(_nested(value, f"{where}{name}."))
        else:
            branch[last] = value
    return tree


def _branch(tree: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    if not isinstance(tree.setdefault(name, {}), dict):
        raise SettingsError(f"{where}: {name!r} is given as a value and as a group of parameters")
    return tree[name]
