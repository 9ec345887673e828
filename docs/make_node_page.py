"""docs/node.md, made from the code: python docs/make_node_page.py > docs/node.md

Needs no ROS: launch arguments are read from the source of the launch file. A topic, service or
diagnostic that the code has and this file does not describe stops it.
"""

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cmdfusion_ros.labelling.settings import (
    LIVE_OF_CAMERA,
    Parameter,
    camera_parameters,
    node_parameters,
)
from cmdfusion_ros.pairing.paired_cloud import CameraStatus
from cmdfusion_ros.ros.qos import INPUTS, OUTPUTS, Qos

REPOSITORY = Path(__file__).resolve().parent.parent
IN = {  # row of INPUTS -> name, type, what it is
    "points": ("`points`", "sensor_msgs/PointCloud2", "the clouds; the name is `points.topic`"),
    "points_queue": (
        "`points`",
        "sensor_msgs/PointCloud2",
        "with `sync.overload: queue`: nothing is lost on the way, all wait for the network",
    ),
    "points_queue_best_effort": (
        "`points`",
        "sensor_msgs/PointCloud2",
        "likewise, where a publisher sends best effort",
    ),
    "image": (
        "`<camera>/image_raw`, `.../compressed`",
        "sensor_msgs/Image or CompressedImage",
        "`<camera>.image_topic`, `<camera>.transport`",
    ),
    "camera_info": (
        "`<camera>/camera_info`",
        "sensor_msgs/CameraInfo",
        "`<camera>.camera_info_topic`; not read with `<camera>.calibration_file`",
    ),
    "camera_info_latched": (
        "`<camera>/camera_info`",
        "sensor_msgs/CameraInfo",
        "with `<camera>.camera_info_durability: transient_local`",
    ),
    "/tf": ("`/tf`", "tf2_msgs/TFMessage", "moving transforms"),
    "/tf_static": ("`/tf_static`", "tf2_msgs/TFMessage", "fixed ones: where the cameras are"),
}
OUT = {
    "~/points_labeled": (
        "sensor_msgs/PointCloud2",
        "the cloud that came, same points and order, with `label`, `confidence`, `camera_mask`; "
        "`output.layout` chooses the fields",
    ),
    "~/points_filtered": (
        "sensor_msgs/PointCloud2",
        "the cloud without the points that `filter.*` names: classes where the network is sure, "
        "the vehicle; see [consumers](consumers.md)",
    ),
    "~/scan": (
        "sensor_msgs/LaserScan",
        "the nearest point of each direction among `scan.classes` and heights; see "
        "[consumers](consumers.md)",
    ),
    "~/markers": (
        "visualization_msgs/MarkerArray",
        "boxes around things, legend, mode, what each camera sees; at most `markers.rate`",
    ),
    "~/label_info": ("vision_msgs/LabelInfo", "names of the ids, for tools that read vision_msgs"),
    "~/class_map": ("cmdfusion_ros/ClassMap", "names, ids and colours of the classes"),
    "~/status": ("cmdfusion_ros/SegmentationStatus", "one a labelled cloud: mode, cameras, times"),
    "~/overlay": (
        "sensor_msgs/Image",
        "`~/overlay/<camera>`: labels drawn into the image; "
        "`~/overlay/<camera>/compressed`: the same as JPEG; at most `overlay.rate`",
    ),
    "~/heartbeat": (
        "std_msgs/Header",
        "four a second while the node works; `frame_id` is its state; see "
        "[security](security.md#for-a-supervisor)",
    ),
    "/diagnostics": ("diagnostic_msgs/DiagnosticArray", "see below; at `diagnostics.rate`"),
}
SERVICES = {
    "~/enable": ("std_srvs/SetBool", "false: no cloud is labelled, the network stays loaded"),
    "~/reset": ("std_srvs/Trigger", "a new time line: waiting clouds and what was learnt go"),
    "~/save_frame": (
        "std_srvs/Trigger",
        "inputs and labels of the next cloud as npz, for a bug report; the answer says where",
    ),
    "~/set_camera": ("cmdfusion_ros/SetCamera", "use or ignore a camera, as `<camera>.enabled`"),
}
DIAGNOSTICS = {
    "pipeline": "state of the node; clouds received, labelled, dropped by reason; times; errors",
    "lidar": "the clouds as they come: rate, jitter, age, gaps, malformed, time jumps",
    "sync": "how clouds were released, how long they waited, what `sync.max_wait` should be",
    "model": "checkpoint, device, backend, whether images are looked at and why",
    "placement": "unit, height over the ground, tilt as points.leveling found them; the share of "
    "points that can be labelled, and why the rest cannot",
    "camera/<name>": "state and reason, how images match, suggested offset and wait, calibration",
}
STATUSES = {
    "FUSED": ("its image was used", ""),
    "DISABLED": ("switched off", "`<camera>.enabled`, `~/set_camera`"),
    "NEVER_SEEN": ("no image since the start", "the topic's name and quality; `ros2 topic hz`"),
    "OFFLINE": ("images stopped longer than `sync.offline_after` ago", "the driver"),
    "NO_IMAGE": (
        "none near enough to this cloud's time; or given up with the others, as fewer than "
        "`sync.min_cameras` had one or the network failed with them",
        "`suggested_offset_ms`, `suggested_max_wait_ms` of its part",
    ),
    "NO_CALIBRATION": (
        "no usable CameraInfo or file, or images of another size",
        "`<camera>.camera_info_topic`, `<camera>.calibration_file`",
    ),
    "NO_TRANSFORM": ("nothing joins the cloud's frame to the camera's", "`/tf_static`"),
    "DECODE_ERROR": ("damaged, or of an encoding that is no colour image", "the words beside it"),
    "CLOCK_SKEW": ("stamps further off than `sync.clock_skew_limit`", "synchronise its clock"),
    "NOT_LOOKED_AT": (
        "an image was there, and the network reads none",
        "`model.images`; the part `model` says why",
    ),
    "NO_POINTS": ("used, but no point of the cloud falls into it", "is it the optical frame?"),
}


def launch_arguments() -> list[tuple[str, str, list[str], str]]:
    """(name, default, choices, description) of every launch argument."""
    tree = ast.parse((REPOSITORY / "launch" / "cmdfusion.launch.py").read_text())
    values: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            values[ast.unparse(node.targets[0])] = node.value
    boolean = ast.literal_eval(values["BOOLEAN"])
    rows = []
    for entry in values["ARGUMENTS"].elts:
        name, default, choices, description = entry.elts
        rows.append(
            (
                ast.literal_eval(name),
                str(default.value)
                if isinstance(default, ast.Constant)
                else "config/cmdfusion.rviz",
                eval_choices(choices, boolean),
                ast.literal_eval(description),
            )
        )
    return rows


def eval_choices(node: Any, boolean: list[str]) -> list[str]:
    """The choices of one argument; [] where any value will do."""
    if isinstance(node, ast.Name):
        return boolean
    if isinstance(node, ast.Constant):
        return []
    found: list[str] = []
    for item in node.elts:
        found += boolean if isinstance(item, ast.Starred) else [ast.literal_eval(item)]
    return found


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table. Angle brackets outside of code would be taken for HTML."""

    def shown(cell: str) -> str:
        parts = cell.replace("|", "\\|").split("`")
        parts[::2] = [part.replace("<", "&lt;").replace(">", "&gt;") for part in parts[::2]]
        return "`".join(parts)

    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(map(shown, row)) + " |" for row in lines)


def quality(qos: Qos) -> str:
    """A Qos in words."""
    return f"{qos.reliability}, {qos.durability}, {qos.depth}".replace("_", " ")


def parameter_row(parameter: Parameter, name: str) -> tuple[str, ...]:
    """Name, default, unit, bounds, whether it may change, meaning."""
    data, default = parameter.metadata, parameter.default
    bounds = []
    if data.get("choices"):
        bounds.append(", ".join(f"`{choice}`" for choice in data["choices"]))
    if data.get("above") is not None:
        bounds.append(f"> {data['above']:g}")
    if data.get("minimum") is not None:
        bounds.append(f">= {data['minimum']:g}")
    if data.get("maximum") is not None:
        bounds.append(f"<= {data['maximum']:g}")
    if isinstance(default, tuple):
        default = list(default)
    shown = f"`{default}`" if default not in ("", []) else "empty"
    if isinstance(default, bool):
        shown = f"`{str(default).lower()}`"
    return (
        f"`{name}`",
        shown,
        data.get("unit") or "",
        "; ".join(bounds),
        "yes" if parameter.live else "",
        data.get("description") or "",
    )


def page() -> str:
    """The whole page."""
    for described, known in ((IN, INPUTS), (OUT, OUTPUTS)):
        if set(described) != set(known):
            raise SystemExit(f"describe {set(described) ^ set(known)} in docs/make_node_page.py")
    inputs = [
        (name, f"`{kind}`", quality(INPUTS[row]), words) for row, (name, kind, words) in IN.items()
    ]
    outputs = [
        (f"`{name}`", f"`{kind}`", quality(OUTPUTS[name]), words)
        for name, (kind, words) in OUT.items()
    ]
    head = ("parameter", "default", "unit", "bounds", "live", "meaning")
    node = [parameter_row(each, each.name) for each in node_parameters()]
    camera = [
        parameter_row(each, each.name.replace("CAMERA", "<camera>", 1))
        for each in camera_parameters("CAMERA")
    ]
    camera = [tuple(cell.replace("CAMERA", "<camera>") for cell in row) for row in camera]
    launch = [
        (
            f"`{name}`",
            f"`{default}`" if default else "empty",
            ", ".join(filter(None, choices)),
            words,
        )
        for name, default, choices, words in launch_arguments()
    ]
    return "\n\n".join(
        [
            "# The node: topics, services, parameters, diagnostics, launch arguments",
            "Made by `python docs/make_node_page.py > docs/node.md`; a test holds the page to the "
            "code. `~` is\nthe node's name, `/cmdfusion` unless the launch file is told otherwise. "
            "Quality of service:\nreliability, durability, depth; each can be overridden by "
            "`qos_overrides.<topic>.<policy>`.",
            "## Topics it listens to",
            table(("topic", "type", "quality", "what"), inputs),
            "## Topics it publishes",
            "Clouds, markers and overlays are computed only while somebody subscribes\n"
            "(`output.always_publish` labels anyway).",
            table(("topic", "type", "quality", "what"), outputs),
            "## Services",
            table(
                ("service", "type", "what"),
                [(f"`{name}`", f"`{kind}`", words) for name, (kind, words) in SERVICES.items()],
            ),
            "## Parameters",
            "*live*: may change while the node runs (`ros2 param set`); any other needs a restart.",
            table(head, node),
            "## Parameters of each camera",
            f"For every name in `cameras`. Live: {', '.join(sorted(LIVE_OF_CAMERA))}.",
            table(head, camera),
            "## Diagnostics",
            "Names on `/diagnostics` are `<node>: <part>`, in a namespace "
            "`/<namespace>/<node>: <part>`.",
            table(
                ("part", "what it says"),
                [(f"`{name}`", words) for name, words in DIAGNOSTICS.items()],
            ),
            "## Why a camera is not used",
            "`status` of each camera in `~/status` and `last_status` of its part of "
            "`/diagnostics`, which has\nthe reason in words. What to type about each: "
            "[when something is wrong](troubleshooting.md).",
            table(
                ("status", "what it means", "what to look at"),
                [(f"`{each.name}`", *STATUSES[each.name]) for each in CameraStatus],
            ),
            "## Launch arguments",
            "Of `cmdfusion.launch.py`. What is empty is taken from the parameter file.",
            table(("argument", "default", "choices", "what"), launch),
        ]
    )


if __name__ == "__main__":
    print(page())
