"""What RViz shows beside the points: boxes of things, the legend, the mode, and the view of each
camera in the colour of its state.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.geometry.transforms import (
    apply,
    invert,
    quaternion_from_rotation,
    rotation_from_quaternion,
    yaw_rotation,
)
from cmdfusion_ros.instances import Box

# visualization_msgs/Marker: types, and the action that empties the view
CUBE, LINE_LIST, TEXT, DELETE_ALL = 1, 5, 9, 3
GREEN, AMBER, RED, GREY = (0.2, 0.85, 0.3), (1.0, 0.75, 0.1), (0.95, 0.2, 0.15), (0.6, 0.6, 0.6)
# By the names of pairing's CameraStatus and Mode; states that are not here are red.
_STATUS_COLORS = {
    "FUSED": GREEN,
    "NO_POINTS": AMBER,
    "NO_IMAGE": AMBER,
    "DISABLED": GREY,
    "NOT_LOOKED_AT": GREY,
}
_MODE_COLORS = {"FUSED": GREEN, "PARTIAL": AMBER, "LIDAR_ONLY": GREY}
_BOX_ALPHA = 0.35
_FRUSTUM_DEPTH = 2.0  # metres
_MODE_PLACE = (0.0, 0.0, 4.0)  # metres, LiDAR frame: above the vehicle
_LEGEND_PLACE = (-6.0, 14.0, 8.0)  # left of the vehicle, downwards from here
_LEGEND_LINE = 1.1  # metres


@dataclass(frozen=True, eq=False)
class MarkerSpec:
    """One visualization_msgs/Marker but for its header and lifetime. Positions are metres in the
    LiDAR frame.

    Attributes:
        namespace, number: together they name the marker (`ns`, `id`): the next one of that name
            replaces it.
        kind: CUBE, LINE_LIST or TEXT.
        position: (x, y, z). quaternion: (x, y, z, w). scale: (x, y, z), by kind: edges, line width,
            height of a capital letter.
        color: (r, g, b, a) from 0 to 1.
        points: (P, 3) float64, of a LINE_LIST: each two are the ends of a line.
        text: of a TEXT.
    """

    namespace: str
    number: int
    kind: int
    position: tuple
    quaternion: tuple
    scale: tuple
    color: tuple
    points: np.ndarray | None = None
    text: str = ""


def box_markers(boxes: Iterable[Box], class_map: ClassMap) -> tuple[MarkerSpec, ...]:
    """Boxes of things (`instances.Box`) -> a half-transparent CUBE each, in the colour of its
    class.
    """
    specs = []
    for number, box in enumerate(boxes):
        turn = tuple(quaternion_from_rotation(yaw_rotation(box.yaw)).tolist())
        red, green, blue = (float(value) / 255 for value in class_map.colors[box.label])
        position, size = (tuple(map(float, values)) for values in (box.centre, box.size))
        specs.append(
            MarkerSpec("things", number, CUBE, position, turn, size, (red, green, blue, _BOX_ALPHA))
        )
    return tuple(specs)


def legend_markers(class_map: ClassMap) -> tuple[MarkerSpec, ...]:
    """One line of text for each class, in its colour, beside the vehicle."""
    x, y, z = _LEGEND_PLACE
    return tuple(
        _text(
            "legend",
            label,
            (x, y, z - label * _LEGEND_LINE),
            info.name,
            tuple(value / 255 for value in info.color),
            0.9,
        )
        for label, info in enumerate(class_map.classes)
    )


def mode_marker(mode: Any, detail: str = "") -> MarkerSpec:
    """The Mode in words above the vehicle, green for FUSED, amber for PARTIAL, grey for
    LIDAR_ONLY; `detail` follows on the same line.
    """
    return _text(
        "mode", 0, _MODE_PLACE, f"{mode.name} {detail}".rstrip(), _MODE_COLORS[mode.name], 1.0
    )


def frustum_marker(
    number: int,
    status: Any,
    intrinsic: np.ndarray,
    image_size: tuple[int, int],
    camera_from_lidar: np.ndarray,
) -> MarkerSpec:
    """What a camera sees, as lines to 2 m before it: green fused, amber without a fitting image or
    points, red lost or unusable, grey disabled.

    The corners are those of a pinhole: with a strongly bent lens the true view is wider.

    Args:
        number: of the camera. status: CameraStatus.
        intrinsic: (3, 3), pixels. image_size: (width, height). camera_from_lidar: (4, 4).
    """
    width, height = image_size
    corners = np.array(
        [
            [-0.5, -0.5, 1],
            [width - 0.5, -0.5, 1],
            [width - 0.5, height - 0.5, 1],
            [-0.5, height - 0.5, 1],
        ]
    )
    rays = np.linalg.solve(intrinsic, corners.T).T * _FRUSTUM_DEPTH
    # the lens, then the four corners
    ends = apply(invert(camera_from_lidar), np.vstack([np.zeros(3), rays]))
    lines = ends[[0, 1, 0, 2, 0, 3, 0, 4, 1, 2, 2, 3, 3, 4, 4, 1]]
    color = (*_STATUS_COLORS.get(status.name, RED), 1.0)
    return MarkerSpec(
        "cameras",
        number,
        LINE_LIST,
        (0.0, 0.0, 0.0),
        (0.0, 0.0, 0.0, 1.0),
        (0.04, 0.0, 0.0),
        color,
        lines,
    )


def moved_marker(spec: MarkerSpec, b_from_a: np.ndarray) -> MarkerSpec:
    """A MarkerSpec in frame a -> the same thing in frame b. `b_from_a`: (4, 4)."""
    place, points = np.eye(4), spec.points
    place[:3, :3] = rotation_from_quaternion(spec.quaternion)
    place[:3, 3] = spec.position
    place = b_from_a @ place
    if points is not None:  # they are given in the marker's own axes
        points, place = apply(place, points), np.eye(4)
    turn = tuple(quaternion_from_rotation(place[:3, :3]).tolist())
    return replace(spec, position=tuple(place[:3, 3].tolist()), quaternion=turn, points=points)


def _text(
    namespace: str, number: int, position: Any, text: str, color: Any, letter_height: float
) -> MarkerSpec:
    return MarkerSpec(
        namespace,
        number,
        TEXT,
        position,
        (0.0, 0.0, 0.0, 1.0),
        (0.0, 0.0, letter_height),
        (*color, 1.0),
        None,
        text,
    )


def fill_marker(
    message: Any, spec: MarkerSpec, header: Any, lifetime: Any, point: Callable[..., Any]
) -> Any:
    """Fill a Marker with `spec` and return it. It is tied to its frame (frame_locked), so that it
    moves with the vehicle.

    Args:
        message: an empty Marker. header: its frame and stamp. lifetime:
            builtin_interfaces/Duration. point: the class geometry_msgs/Point.
    """
    message.header, message.lifetime, message.frame_locked = header, lifetime, True
    message.ns, message.id, message.type, message.action = spec.namespace, spec.number, spec.kind, 0
    message.pose.position.x, message.pose.position.y, message.pose.position.z = spec.position
    turn = message.pose.orientation
    turn.x, turn.y, turn.z, turn.w = spec.quaternion
    message.scale.x, message.scale.y, message.scale.z = spec.scale
    message.color.r, message.color.g, message.color.b, message.color.a = spec.color
    message.points = (
        [] if spec.points is None else [point(x=x, y=y, z=z) for x, y, z in spec.points.tolist()]
    )
    message.text = spec.text
    return message
