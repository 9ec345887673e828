"""Pictures of labelled scans: bird's-eye view, and camera images with the labelled points on
them. numpy and OpenCV draw, matplotlib lays out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.frame import IGNORE_LABEL, CameraView
from cmdfusion_ros.geometry.projection import project_points
from cmdfusion_ros.geometry.transforms import invert, rigid

BACKGROUND = (13, 17, 23)
_INK, _FAINT, _RING = "#e6edf3", "#8b949e", "#3d4652"
_DIM = 0.6  # brightness of a camera image under its points
_FIGURE_SIZE, _DPI = (19.2, 10.8), 100


@dataclass(frozen=True)
class CameraPicture:
    """One camera's panel: its name, the (H, W, 3) uint8 RGB image to show, and a short caption."""

    name: str
    image: np.ndarray
    caption: str = ""


def draw_points(
    image: np.ndarray, pixels: np.ndarray, depth: np.ndarray, colors: np.ndarray, radius: int = 2
) -> np.ndarray:
    """Draw points as discs into a copy of an image, the nearest on top.

    Args:
        image: (H, W, 3) uint8 RGB.
        pixels: (P, 2) float, (u, v), finite; those outside are cut off.
        depth: (P,) float; only its order counts.
        colors: (P, 3) uint8 RGB.
        radius: pixels; 0 draws single pixels.

    Returns:
        (H, W, 3) uint8.
    """
    height, width = image.shape[:2]
    drawn = image.copy()
    u, v = np.rint(pixels).astype(np.int64).T
    inside = (u >= -radius) & (u < width + radius) & (v >= -radius) & (v < height + radius)
    order = np.flatnonzero(inside)[np.argsort(-depth[inside], kind="stable")]
    # 0: no point; the nearer the higher; exact up to 16 million points
    rank = np.zeros((height + 2 * radius, width + 2 * radius), np.float32)
    # the last of equal places wins: the nearest
    rank[v[order] + radius, u[order] + radius] = np.arange(1, len(order) + 1)
    steps = np.arange(-radius, radius + 1)
    disc = (steps[:, None] ** 2 + steps**2 <= radius**2 + 0.5).astype(np.uint8)
    rank = cv2.dilate(rank, disc)[radius : height + radius, radius : width + radius].reshape(-1)
    hit = np.flatnonzero(rank)
    drawn.reshape(-1, 3)[hit] = colors[order][rank[hit].astype(np.int64) - 1]
    return drawn


def draw_labels(
    view: CameraView,
    points: np.ndarray,
    labels: np.ndarray,
    class_map: ClassMap,
    radius: int | None = None,
) -> np.ndarray:
    """A CameraView's image, dimmed, with the labelled points it sees.

    Args:
        view: CameraView.
        points: (N, 3) float32, LiDAR frame.
        labels: (N,) uint8; IGNORE_LABEL is not drawn.
        class_map: ClassMap.
        radius: of a point in pixels; None for what suits the image's width.

    Returns:
        ((H, W, 3) uint8, number of points drawn).
    """
    pixels, visible = project_points(
        points, view.intrinsic, view.camera_from_lidar, view.image_size, view.distortion
    )
    visible &= labels != IGNORE_LABEL
    depth = points[visible] @ view.camera_from_lidar[2, :3].astype(np.float32)
    radius = max(1, round(view.image_size[0] / 480)) if radius is None else radius
    dimmed = cv2.convertScaleAbs(view.image, alpha=_DIM)
    return draw_points(
        dimmed, pixels[visible], depth, class_map.colors_from_labels(labels[visible]), radius
    ), int(visible.sum())


def bird_eye(points: np.ndarray, colors: np.ndarray, reach: float, size: int = 1100) -> np.ndarray:
    """Bird's-eye view: x (forward) up, y (left) to the left, the LiDAR in the middle, the highest
    points on top.

    Args:
        points: (N, 3) float, metres. colors: (N, 3) uint8. reach: metres from the middle to each
            edge. size: pixels of each edge.

    Returns:
        (size, size, 3) uint8 RGB.
    """
    canvas = np.full((size, size, 3), BACKGROUND, np.uint8)
    pixels = (
        np.stack((reach - points[:, 1], reach - points[:, 0]), axis=1) * (size / (2 * reach)) - 0.5
    )
    near = np.abs(points[:, :2]).max(axis=1, initial=0) < reach
    return draw_points(canvas, pixels[near], -points[near, 2], colors[near], radius=1)


def chase_view(
    points: np.ndarray, colors: np.ndarray, size: tuple[int, int] = (960, 875)
) -> np.ndarray:
    """The scan as seen from 12 m behind and 9 m above the LiDAR, looking ahead and down:
    (height, width, 3) uint8 RGB for `size` (width, height).
    """
    width, height = size
    pitch = np.radians(24)
    # right, down, forward
    axes = np.array(
        [
            [0.0, -1.0, 0.0],
            [-np.sin(pitch), 0.0, -np.cos(pitch)],
            [np.cos(pitch), 0.0, -np.sin(pitch)],
        ]
    )
    camera_from_lidar = invert(rigid(axes.T, (-12.0, 0.0, 9.0)))
    intrinsic = np.array([[0.75 * width, 0, width / 2], [0, 0.75 * width, height / 2], [0, 0, 1.0]])
    pixels, visible = project_points(points, intrinsic, camera_from_lidar, size)
    depth = points[visible] @ camera_from_lidar[2, :3].astype(np.float32)
    return draw_points(
        np.full((height, width, 3), BACKGROUND, np.uint8),
        pixels[visible],
        depth,
        colors[visible],
        radius=1,
    )


def save_scan_picture(
    path: str | Path,
    points: np.ndarray,
    labels: np.ndarray,
    class_map: ClassMap,
    cameras: Sequence[CameraPicture] = (),
    title: str = "",
    subtitle: str = "",
) -> None:
    """Write one picture (PNG, 1920 x 1080) of a labelled scan: bird's-eye view at the left, the
    cameras at the right, the legend below.

    Without cameras the right side shows the scan from behind the vehicle.

    Args:
        path: file to write.
        points: (N, 3) float32, metres, LiDAR frame.
        labels: (N,) uint8, labels of `class_map` or IGNORE_LABEL.
        cameras: CameraPictures in the order to show them.
        title, subtitle: lines at the top.
    """
    from matplotlib.figure import Figure  # half a second; only who draws pays it

    figure = Figure(figsize=_FIGURE_SIZE, dpi=_DPI, facecolor=_hex(BACKGROUND))
    figure.text(0.015, 0.962, title, color=_INK, fontsize=21, fontweight="bold", va="center")
    figure.text(0.015, 0.925, subtitle, color=_FAINT, fontsize=13, va="center")
    colors = class_map.colors_from_labels(labels)
    _add_bird_eye(figure, (0.015, 0.085, 0.455, 0.81), points, colors)
    if not cameras:
        cameras = (CameraPicture("view from behind", chase_view(points, colors)),)
    _add_cameras(figure, (0.485, 0.085, 0.50, 0.81), cameras)
    _add_legend(figure, labels, class_map)
    figure.savefig(path, facecolor=figure.get_facecolor())


def _hex(color):
    return "#{:02x}{:02x}{:02x}".format(*color)


def view_reach(points: np.ndarray) -> float:
    """Metres to show around the LiDAR: what holds 9 of 10 points, in whole tens, 20 to 80."""
    if not len(points):
        return 20.0
    return float(
        np.clip(10 * np.ceil(np.quantile(np.abs(points[:, :2]).max(axis=1), 0.9) / 10), 20, 80)
    )


def _add_bird_eye(figure, box, points, colors):
    from matplotlib.patches import Circle, Polygon

    reach = view_reach(points)
    axes = figure.add_axes(box)
    axes.imshow(
        bird_eye(points, colors, reach),
        extent=(reach, -reach, -reach, reach),
        interpolation="antialiased",
    )
    step = 10 if reach <= 50 else 20
    for radius in np.arange(step, reach * 1.5, step):
        axes.add_patch(
            Circle(
                (0, 0), radius, fill=False, edgecolor=_RING, linewidth=0.8, linestyle=(0, (4, 4))
            )
        )
        if radius <= reach:
            axes.text(
                -radius * 0.7071,
                radius * 0.7071,
                f"{radius:.0f} m",
                color=_FAINT,
                fontsize=9,
                ha="center",
                va="center",
                clip_on=True,
            )
    axes.add_patch(
        Polygon(
            [(0, 2.2), (0.95, -1.6), (0, -0.8), (-0.95, -1.6)],
            facecolor="white",
            edgecolor=_hex(BACKGROUND),
            linewidth=1.0,
        )
    )
    axes.set(xlim=(reach, -reach), ylim=(-reach, reach), xticks=[], yticks=[])
    _frame(axes)
    axes.text(
        0.012, 0.988, "bird's-eye view", transform=axes.transAxes, color=_INK, fontsize=12, va="top"
    )
    axes.text(
        0.988,
        0.988,
        "forward is up",
        transform=axes.transAxes,
        color=_FAINT,
        fontsize=10,
        va="top",
        ha="right",
    )


def _add_cameras(figure, box, cameras):
    left, bottom, width, height = box
    shape = cameras[0].image.shape
    columns = max(
        range(1, 5),
        key=lambda n: _cell_area(
            len(cameras), n, width * _FIGURE_SIZE[0], height * _FIGURE_SIZE[1], shape[1] / shape[0]
        ),
    )
    rows = -(-len(cameras) // columns)
    gap_x, gap_y = 0.008, 0.014
    cell_width, cell_height = (
        (width - gap_x * (columns - 1)) / columns,
        (height - gap_y * (rows - 1)) / rows,
    )
    for index, camera in enumerate(cameras):
        row, column = divmod(index, columns)
        axes = figure.add_axes(
            (
                left + column * (cell_width + gap_x),
                bottom + (rows - 1 - row) * (cell_height + gap_y),
                cell_width,
                cell_height,
            )
        )
        axes.imshow(camera.image, interpolation="antialiased")
        axes.set(xticks=[], yticks=[], anchor="C")
        _frame(axes)
        words = camera.name + (f"   {camera.caption}" if camera.caption else "")
        label = axes.text(
            0.012, 0.975, words, transform=axes.transAxes, color=_INK, fontsize=11, va="top"
        )
        label.set_bbox(
            {"facecolor": _hex(BACKGROUND), "edgecolor": "none", "alpha": 0.75, "pad": 3}
        )


def _cell_area(count, columns, width, height, aspect):
    """Area of each of `count` pictures of that aspect, laid out in so many columns."""
    cell_width = min(width / columns, height / -(-count // columns) * aspect)
    return cell_width**2 / aspect


def _frame(axes):
    axes.set_facecolor(_hex(BACKGROUND))
    for side in axes.spines.values():
        side.set(color=_RING, linewidth=1.0)


def _add_legend(figure, labels, class_map):
    """One patch a class with its share of the points; classes without points are faint."""
    from matplotlib.patches import Rectangle

    counts = np.bincount(labels, minlength=256)
    entries = [
        (info.name, info.color, counts[label]) for label, info in enumerate(class_map.classes)
    ]
    if counts[IGNORE_LABEL]:
        entries.append(
            (
                "unlabelled",
                tuple(class_map.colors_from_labels(np.array([IGNORE_LABEL]))[0]),
                counts[IGNORE_LABEL],
            )
        )
    axes = figure.add_axes((0.015, 0.01, 0.97, 0.06))
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.axis("off")
    rows = min(3, -(-len(entries) // 7))  # more than seven names collide in one row
    per_row = -(-len(entries) // rows)
    for index, (name, color, count) in enumerate(entries):
        row, column = divmod(index, per_row)
        x, y = column / per_row, 1 - (row + 0.5) / rows
        axes.add_patch(Rectangle((x, y - 0.25 / rows), 0.012, 0.5 / rows, facecolor=_hex(color)))
        share = f"{100 * count / max(len(labels), 1):.1f} %" if count else "none"
        axes.text(
            x + 0.017,
            y,
            f"{name}  {share}",
            color=_INK if count else _FAINT,
            fontsize=11 if rows < 3 else 8,
            va="center",
        )
