"""`cmdfusion inspect BAG`: what is in a recording, what the node would do with it, and why; a page,
and parameters to start the node with.
"""

import argparse
import base64
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib import colormaps

from cmdfusion_ros.data.bags.bag import Bag
from cmdfusion_ros.data.bags.bag_layout import BagLayout, CameraLayout, inspect_bag
from cmdfusion_ros.data.bags.bag_parameters import node_parameters, write_parameter_file
from cmdfusion_ros.data.bags.bag_transforms import BagTransforms
from cmdfusion_ros.geometry.projection import project_points
from cmdfusion_ros.labelling.inspection import CloudFindings, find_in_clouds
from cmdfusion_ros.labelling.snapshot import nearest_image
from cmdfusion_ros.messages.camera_info import read_camera_info
from cmdfusion_ros.messages.transforms import TransformError
from cmdfusion_ros.pictures import bird_eye, draw_points, view_reach

_STYLE = (
    "body{font:15px sans-serif;max-width:76em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}td{padding:.2em .8em;border-bottom:1px solid #ddd;"
    "vertical-align:top}img{max-width:100%}.bad{background:#fdd;padding:.6em}"
    ".good{background:#dfd;padding:.6em}pre{background:#f6f6f6;padding:.6em}"
)
_HEIGHTS, _DEPTHS = (-0.5, 3.5), (0.0, 40.0)  # metres, ends of the colours


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "inspect",
        help="say what is in a bag, and what the node would do with it",
        description="Look into a recording before anything is labelled. Exit code 0 where its "
        "clouds would be labelled, 1 where not.",
    )
    parser.add_argument("bag", help="rosbag2 folder, .mcap or ROS 1 .bag file")
    parser.add_argument("--points", help="PointCloud2 topic to look at (default: the densest)")
    parser.add_argument(
        "--out",
        default="inspect_output",
        metavar="DIR",
        help="folder for inspect.html, node.yaml and inspect.json (default inspect_output)",
    )
    return parser


def run(args: argparse.Namespace) -> int:
    layout = inspect_bag(args.bag, args.points)
    with Bag(layout.path) as bag:
        transforms = BagTransforms(bag, layout.transform_topics, layout.cloud_frame)
    found = find_in_clouds(layout, transforms)
    problems = found.problems()
    print(layout.table())
    print("\n".join(f"{subject:<9} {words}" for subject, words in found.lines()))
    tree = frame_tree(transforms, layout)
    print("\n".join(f"{'frames' if not row else '':<9} {line}" for row, line in enumerate(tree)))
    print("\n".join(f"NOTE      {problem}" for problem in problems), end="\n" * bool(problems))
    doing = intentions(layout, found)
    print("\n".join(f"{'the node' if not row else '':<9} {line}" for row, line in enumerate(doing)))
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    parameters, remaps = node_parameters(layout)
    write_parameter_file(out / "node.yaml", parameters)
    (out / "inspect.json").write_text(json.dumps(summary(layout, found), indent=1) + "\n")
    (out / "inspect.html").write_text(
        page(layout, found, tree, doing, pictures(layout, found), (out / "node.yaml").read_text())
    )
    rules = " ".join(f"-r {wanted}:={topic}" for wanted, topic in remaps.items())
    print(
        f"\n{out / 'inspect.html'}: the same with pictures\n"
        f"cmdfusion_node --ros-args --params-file {out / 'node.yaml'} {rules}".rstrip()
    )
    return 0 if found.usable >= 0.01 else 1


def intentions(layout: BagLayout, found: CloudFindings) -> list[str]:
    """What the node would do with the bag, a line each."""
    if found.usable < 0.01:
        return [f"would label nothing of {layout.cloud_topic}"]
    parameters, _ = node_parameters(layout)
    lines = [f"labels {layout.cloud_topic}, seen from: {found.placement.words or 'as it comes'}"]
    for camera in layout.cameras:
        if camera.problems:
            lines.append(f"leaves out {camera.name}: {'; '.join(camera.problems)}")
        else:
            offset, tolerance = camera.timing.offset / 1e6, camera.timing.tolerance / 1e6
            lines.append(
                f"fuses {camera.name}: the image {offset:+.1f} ms from the cloud's stamp, "
                f"{tolerance:.1f} ms at most from there"
            )
    if layout.usable_cameras:
        lines.append(f"waits at most {1e3 * parameters['sync.max_wait']:.0f} ms for images")
    return lines


def frame_tree(transforms: BagTransforms, layout: BagLayout) -> list[str]:
    """The coordinate frames as an indented tree, and those that hang in the air."""
    above: dict[str, str] = {}
    frames = transforms.buffer.frames()
    for frame in frames:
        try:
            chain = transforms.buffer.ancestors(frame)
        except TransformError as error:
            return [str(error)]
        above.update(zip(chain, chain[1:], strict=False))
    marks = {camera.frame_id: f"  <- images of {camera.name}" for camera in layout.cameras}
    marks[layout.cloud_frame] = f"  <- clouds of {layout.cloud_topic}"

    def branch(frame, depth):
        yield f"{'  ' * depth}{frame}{marks.get(frame, '')}"
        for child in sorted(child for child, parent in above.items() if parent == frame):
            yield from branch(child, depth + 1)

    roots = sorted(frame for frame in frames if frame not in above)
    lines = [line for root in roots for line in branch(root, 0)]
    lines += [f"{frame}{mark}: in no transform" for frame, mark in marks.items()
              if frame not in frames]  # fmt: skip
    return lines or ["no transforms"]


def summary(layout: BagLayout, found: CloudFindings) -> dict[str, Any]:
    """Plain values of all that was found."""
    return {
        "bag": str(layout.path),
        "kind": layout.kind,
        "seconds": round((layout.end - layout.start) / 1e9, 3),
        "cloud_topic": layout.cloud_topic,
        "cloud_frame": layout.cloud_frame,
        "clouds_in_bag": layout.num_clouds,
        "cloud_hz": round(1e9 / layout.cloud_period_ns, 3) if layout.cloud_period_ns else None,
        **found.to_dict(),
        "problems": found.problems(),
        "notes": list(layout.notes),
        "cameras": [
            {
                "name": camera.name,
                "topic": camera.image_topic,
                "images": camera.num_images,
                "hz": round(1e9 / camera.timing.period, 3) if camera.timing.period else None,
                "offset_ms": camera.timing.offset / 1e6,
                "lag_ms": camera.timing.lag / 1e6,
                "calibration": camera.info_topic,
                "problems": list(camera.problems),
            }
            for camera in layout.cameras
        ],
    }


def pictures(layout: BagLayout, found: CloudFindings) -> list[tuple[str, np.ndarray]]:
    """(caption, (H, W, 3) uint8 RGB): a cloud from above by height over the ground, and its points
    in the image of each camera by distance.
    """
    if not len(found.sample):
        return []
    height = found.placement.height if np.isfinite(found.placement.height) else 0.0
    colors = _colored(found.sample[:, 2] + height, _HEIGHTS)
    made = [
        (
            f"one cloud as the network sees it, forward is up; blue {_HEIGHTS[0]:g} m, red "
            f"{_HEIGHTS[1]:g} m {'over the ground' if height else 'over the sensor'}",
            bird_eye(found.sample, colors, view_reach(found.sample), 900),
        )
    ]
    with Bag(layout.path) as bag:
        for camera in layout.usable_cameras:
            if (drawn := _in_image(bag, layout, camera, found)) is not None:
                words = f"{camera.name}: points in its image; blue near, red {_DEPTHS[1]:g} m"
                made.append((words, drawn))
    return made


def _in_image(
    bag: Bag, layout: BagLayout, camera: CameraLayout, found: CloudFindings
) -> np.ndarray | None:
    image = nearest_image(bag, camera, found.stamp, layout.delay_ns, None)
    if image is None or camera.camera_from_lidar is None:
        return None
    intrinsic, distortion, size = read_camera_info(camera.info, camera.rectified)
    points = found.cloud_sample
    pixels, visible = project_points(points, intrinsic, camera.camera_from_lidar, size, distortion)
    depth = (points @ camera.camera_from_lidar[2, :3] + camera.camera_from_lidar[2, 3])[visible]
    colors = _colored(depth, _DEPTHS)
    drawn = draw_points(image, pixels[visible], depth, colors, max(1, size[0] // 640))
    wide = min(960, drawn.shape[1])
    return cv2.resize(drawn, (wide, round(drawn.shape[0] * wide / drawn.shape[1])))


def _colored(values: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    """(N,) -> (N, 3) uint8 RGB from blue to red between the ends."""
    share = np.clip((values - ends[0]) / (ends[1] - ends[0]), 0, 1)
    return (255 * colormaps["turbo"](share)[:, :3]).astype(np.uint8)


def page(
    layout: BagLayout,
    found: CloudFindings,
    tree: Sequence[str],
    doing: Sequence[str],
    drawn: Sequence[tuple[str, np.ndarray]],
    parameters: str,
) -> str:
    """All of it as one HTML file with its pictures inside."""
    name = html.escape(layout.path.name)
    problems = found.problems()
    rows = "".join(
        f"<tr><td>{html.escape(subject)}<td>{html.escape(words)}</tr>"
        for subject, words in found.lines()
    )
    parts = [
        f"<!doctype html><meta charset=utf-8><title>{name}</title><style>{_STYLE}</style>"
        f"<h1>{name}</h1>",
        f"<pre class={'bad' if problems else 'good'}>"
        + html.escape("\n".join(problems) or "nothing stands out")
        + "</pre>",
        f"<h2>What the node would do</h2><pre>{html.escape(chr(10).join(doing))}</pre>",
        f"<h2>Topics</h2><pre>{html.escape(layout.table())}</pre>",
        f"<h2>Clouds</h2><table>{rows}</table>",
        f"<h2>Frames</h2><pre>{html.escape(chr(10).join(tree))}</pre>",
    ]
    parts += [
        f"<p>{html.escape(words)}<br><img src='data:image/jpeg;base64,{_jpeg(image)}'></p>"
        for words, image in drawn
    ]
    parts.append(f"<h2>node.yaml</h2><pre>{html.escape(parameters)}</pre>\n")
    return "".join(parts)


def _jpeg(image: np.ndarray) -> str:
    coded = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return base64.b64encode(coded.tobytes()).decode()
