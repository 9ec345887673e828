"""The one door to message and service classes: which are installed, and what it costs where they
are not.

Our own interfaces exist only after `colcon build`; tf2_msgs and vision_msgs are absent from some
installations. Without them the node runs and says what it cannot do.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

COSTS = {  # package -> what the node cannot do without it
    "cmdfusion_ros": "~/status, ~/class_map and ~/set_camera are off; build them with colcon",
    "vision_msgs": "~/label_info is off; install vision_msgs",
    "tf2_msgs": (
        "no transforms from /tf and /tf_static: extrinsics must come from "
        "<camera>.calibration_file; install tf2_msgs"
    ),
    "std_srvs": "~/enable, ~/reset and ~/save_frame are off; install std_srvs",
}
_REQUIRED = {
    "sensor_msgs": (
        "PointCloud2",
        "PointField",
        "Image",
        "CompressedImage",
        "CameraInfo",
        "LaserScan",
    ),
    "visualization_msgs": ("Marker", "MarkerArray"),
    "diagnostic_msgs": ("DiagnosticArray", "DiagnosticStatus", "KeyValue"),
    "geometry_msgs": ("Point",),
    "builtin_interfaces": ("Time", "Duration"),
    "std_msgs": ("Header", "ColorRGBA"),
}
_OPTIONAL = {
    "cmdfusion_ros.msg": ("SegmentationStatus", "CameraState", "ClassMap", "ClassInfo"),
    "cmdfusion_ros.srv": ("SetCamera",),
    "vision_msgs.msg": ("LabelInfo", "VisionClass"),
    "tf2_msgs.msg": ("TFMessage",),
    "std_srvs.srv": ("SetBool", "Trigger"),
}


@dataclass(frozen=True)
class Interfaces:
    """Message and service classes by name (`interfaces.Image`).

    Attributes:
        classes: {name: class} of what is installed.
        missing: {package: why it cannot be imported} of the optional ones.
    """

    classes: Mapping[str, Any]
    missing: Mapping[str, str]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.classes[name]
        except KeyError:
            raise AttributeError(f"message class {name} is not installed") from None

    def has(self, name: str) -> bool:
        return name in self.classes

    def complaints(self) -> list[str]:
        """One line for each missing package: what is off, and why."""
        return [
            f"{package} is not importable ({why}): {COSTS[package]}"
            for package, why in self.missing.items()
        ]


def load_interfaces() -> Interfaces:
    """The Interfaces of this installation.

    Raises:
        ImportError: a package without which the node cannot run is missing.
    """
    classes, missing = {}, {}
    for package, names in _REQUIRED.items():
        module = importlib.import_module(f"{package}.msg")
        classes.update({name: getattr(module, name) for name in names})
    for module_name, names in _OPTIONAL.items():
        try:
            module = importlib.import_module(module_name)
            classes.update({name: getattr(module, name) for name in names})
        except (
            ImportError,
            AttributeError,
        ) as error:  # AttributeError: an older package of that name without the type
            missing[module_name.split(".")[0]] = str(error)
    return Interfaces(classes, missing)
