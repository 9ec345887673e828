"""A BagLayout -> the node's parameters for that bag, as plain values and as the files that a
node is started with.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cmdfusion_ros.data.bags.bag_layout import BagLayout

_WAIT_MARGIN = 0.01  # seconds beyond the lag seen in the bag
_DEFAULT_WAIT = 0.06  # seconds; the node's own default
_LONGEST_WAIT = 0.3  # seconds; a camera that comes later than this is not worth the latency


def node_parameters(
    layout: BagLayout, calibration_files: Mapping[str, Path] | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Parameters with which the node reads the bag's topics: cloud, cameras, their clocks.

    Args:
        layout: BagLayout. Cameras with problems are left out.
        calibration_files: {camera: path} for nodes that get no transforms; None where /tf_static
            reaches the node.

    Returns:
        ({parameter: value} with dotted names, {topic that the node wants: topic in the bag} for the
        remap rules of a node).
    """
    cameras = layout.usable_cameras
    lags = [camera.timing.lag / 1e9 + _WAIT_MARGIN for camera in cameras]
    parameters = {
        "points.topic": layout.cloud_topic,
        "points.scan_period": min(layout.cloud_period_ns / 1e9 or 0.1, 1.0),
        "sync.max_wait": round(min(max([_DEFAULT_WAIT, *lags]), _LONGEST_WAIT), 4),
    }
    if cameras:
        parameters["cameras"] = [camera.name for camera in cameras]  # ROS has no empty lists
    remaps = {}
    for camera in cameras:
        topic = camera.image_topic
        if camera.compressed:
            topic = topic.removesuffix("/compressed")
            if f"{topic}/compressed" != camera.image_topic:
                remaps[f"{topic}/compressed"] = camera.image_topic
        own = {
            "image_topic": topic,
            "transport": "compressed" if camera.compressed else "raw",
            "camera_info_topic": camera.info_topic,
            "frame": camera.frame_id,
            "time_offset": round(camera.timing.offset / 1e9, 6),
            "tolerance": round(min(camera.timing.tolerance / 1e9, 1.0), 6),
        }
        if camera.rectified:
            own["rectified"] = True
        if calibration_files is not None:
            own["calibration_file"] = str(calibration_files[camera.name])
        parameters.update({f"{camera.name}.{key}": value for key, value in own.items()})
    return parameters, remaps


def write_parameter_file(path: Path, parameters: Mapping[str, Any]) -> None:
    """Write parameters as a ROS parameter file that fits a node of any name."""
    Path(path).write_text(yaml.safe_dump({"/**": {"ros__parameters": parameters}}, sort_keys=False))


def write_calibration_files(folder: Path, layout: BagLayout) -> dict[str, Path]:
    """One camera_calibration YAML for each usable camera, with its extrinsic; returns {camera:
    path}.

    Raises:
        ValueError: a camera publishes a part of its image or a binned one, which such a file cannot
            say.
    """
    paths = {}
    for camera in layout.usable_cameras:
        info = camera.info
        if (
            max(info.binning_x, info.binning_y) > 1
            or info.roi.x_offset
            or info.roi.y_offset
            or (info.roi.width and info.roi.width != info.width)
        ):
            raise ValueError(
                f"camera {camera.name}: its CameraInfo has binning or a region of interest; "
                "install tf2_msgs, so that the node can use it"
            )
        values = {
            "camera_name": camera.name,
            "image_width": int(info.width),
            "image_height": int(info.height),
            "camera_matrix": _matrix(3, 3, info.k),
            "distortion_model": str(info.distortion_model),
            "distortion_coefficients": _matrix(1, len(info.d), info.d),
            "camera_from_lidar": _matrix(4, 4, camera.camera_from_lidar.reshape(-1)),
        }
        paths[camera.name] = Path(folder).resolve() / f"{camera.name}.yaml"
        paths[camera.name].write_text(yaml.safe_dump(values, sort_keys=False))
    return paths


def _matrix(rows, cols, data):
    return {"rows": rows, "cols": cols, "data": [float(value) for value in data]}
