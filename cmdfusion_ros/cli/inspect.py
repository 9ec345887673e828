"""`cmdfusion inspect BAG`: what is in a recording, what the node would do with it, and why; a page,
and parameters to start the node with.
"""

import argparse
import html
import shlex
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from matplotlib import colormaps

from cmdfusion_ros.cli.inspections.alignment import MOST_LOOKED_AT, camera_alignments
from cmdfusion_ros.cli.inspections.cameras import camera_words, facts_of_cameras
from cmdfusion_ros.cli.inspections.frames import frame_tree, missing_links
from cmdfusion_ros.cli.runs.figures import add_json_option, write_figures
from cmdfusion_ros.cli.runs.options import add_points_option
from cmdfusion_ros.data.bags.bag import Bag
from cmdfusion_ros.data.bags.bag_layout import (
    BagLayout,
    CameraLayout,
    foreign_notes,
    inspect_bag,
)
from cmdfusion_ros.data.bags.bag_parameters import node_parameters, write_parameter_file
from cmdfusion_ros.data.bags.bag_survey import CLOUD, BagSurvey
from cmdfusion_ros.data.bags.bag_transforms import BagTransforms
from cmdfusion_ros.data.readers.cloud_files import cloud_files, write_cloud_bag
from cmdfusion_ros.evaluation.html_parts import html_table, page_opening, picture_row
from cmdfusion_ros.geometry.leveling import find_ground, sample_points
from cmdfusion_ros.geometry.projection import project_points
from cmdfusion_ros.labelling.inspection import CloudFindings, find_in_clouds
from cmdfusion_ros.labelling.snapshot import nearest_image
from cmdfusion_ros.messages.camera_info import read_camera_info
from cmdfusion_ros.messages.texts import printable
from cmdfusion_ros.pictures import bird_eye, draw_points, view_reach

_STYLE = "td,td:last-child{text-align:left;vertical-align:top}pre{background:#f6f6f6;padding:.6em}"
_ON_GROUND, _GROUND = 0.2, (110, 110, 110)  # metres; colour
_MOST_OTHERS = 8  # topics of clouds that were not taken and are looked at
_LONG, _COMMAND = 2000, 20_000  # letters of a line
_HEAD_S = 60.0  # seconds of a bag that are asked why its clouds cannot be read
_HEIGHTS, _DEPTHS = (-0.5, 3.5), (0.0, 40.0)  # metres, ends of the colours


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "inspect",
        help="say what is in a bag, and what the node would do with it",
        description="Look into a recording before anything is labelled. Exit code 0 where its "
        "clouds would be labelled, 1 where not, 2 for wrong input.",
        examples=(
            "cmdfusion inspect demo_output/street",
            "cmdfusion inspect demo_output/street --out looked_at --json found.json",
        ),
    )
    parser.add_argument(
        "bag",
        metavar="BAG",
        help="rosbag2 folder, .mcap or ROS 1 .bag file; or a .pcd, .ply, .las or .bin, or a folder "
        "of them",
    )
    add_points_option(parser)
    parser.add_argument(
        "--out",
        default="inspect_output",
        metavar="DIR",
        help="folder for page.html, node.yaml and summary.json (default: inspect_output)",
    )
    add_json_option(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    files = cloud_files(args.bag)
    if not files:
        return _inspect(Path(args.bag), args.points, Path(args.out), args.json)
    with tempfile.TemporaryDirectory() as folder:
        scans = Path(folder) / "scans"
        write_cloud_bag(scans, files)
        return _inspect(scans, args.points, Path(args.out), args.json, Path(args.bag))


def _say(lines: Iterable[str]) -> None:
    """Print lines that hold what somebody wrote into a bag: nothing that a terminal obeys."""
    for line in lines:
        print(printable(line, _LONG))


def _inspect(
    path: Path,
    points: str | None,
    out: Path,
    figures_file: str | None,
    source: Path | None = None,
) -> int:
    """Look, print and write; 0, or 1 where nothing would be labelled."""
    with Bag(path) as bag:
        filled = {t: i.count for t, i in bag.topics.items() if i.msgtype == CLOUD and i.count}
        if not filled and points is None:
            why = "no PointCloud2 with a message"
            return _without_clouds(bag, out, figures_file, why, source)
        try:
            layout = inspect_bag(path, points, source=source)
        except ValueError as error:
            if points is not None:  # may be a wrong argument
                raise
            why = f"no cloud that can be read ({str(error).splitlines()[0]})"
            notes = BagSurvey(bag, _HEAD_S).notes
            return _without_clouds(bag, out, figures_file, why, source, notes)
        transforms = BagTransforms(bag, layout.transform_topics, layout.cloud_frame)
        cameras = facts_of_cameras(bag, layout.cameras)
        found = find_in_clouds(bag, layout.cloud_topic, transforms, layout.stamped)
        counts = {topic: number for topic, number in filled.items() if topic != layout.cloud_topic}
        others, unreadable, passed_by = _other_clouds(bag, counts, transforms)
        place = found.placement.scale, found.origin
        aligned = camera_alignments(bag, layout, transforms, *place)
        drawn = pictures(bag, layout, found)
    missing = missing_links(transforms.buffer, layout)
    wrong = [f"{name}: {each.words}" for name, each in aligned.items() if each.is_wrong]
    problems = [*found.problems(), *unreadable, *missing, *wrong]
    tree, doing = frame_tree(transforms.buffer, layout), intentions(layout, found)
    told = found.lines() + [(each["name"], camera_words(each)) for each in cameras]
    told += [(name, each.words) for name, each in aligned.items()]
    if more := layout.usable_cameras[MOST_LOOKED_AT:]:
        names = ", ".join(camera.name for camera in more)
        told.append((f"{len(more)} more", f"edges and pictures were not looked at: {names}"))
    aside = [(topic, f"{name}: {words}") for topic, each in others.items()
             for name, words in each.lines()]  # fmt: skip
    if passed_by:
        listed = ", ".join(passed_by)
        aside.append((f"{len(passed_by)} more", f"not looked at, --points TOPIC does: {listed}"))
    print(layout.table())
    wide = max(len(subject) for subject, _ in told)
    _say(f"{subject:<{wide}} {words}" for subject, words in told)
    _say(f"{'frames' if not row else '':<9} {line}" for row, line in enumerate(tree))
    _say(f"not taken {topic}: {words}" for topic, words in aside)
    _say(f"NOTE      {problem}" for problem in problems)
    _say(f"{'the node' if not row else '':<9} {line}" for row, line in enumerate(doing))
    out.mkdir(parents=True, exist_ok=True)
    parameters, remaps = node_parameters(layout)
    figures = {
        **summary(layout, found),
        "problems": problems,
        "cameras": cameras,
        "alignment": {name: each.to_dict() for name, each in aligned.items()},
        "frames": tree,
        "other_clouds": {topic: each.to_dict() for topic, each in others.items()},
        "the_node": doing,
    }
    for place in (str(out / "summary.json"), figures_file):
        write_figures(place, figures)
    blocks = [
        ("What the node would do", _lines(doing)),
        ("Topics", _lines([layout.table()])),
        ("Clouds", html_table((), told)),
        *([("Clouds that were not taken", html_table((), aside))] if aside else []),
        ("Frames", _lines(tree)),
        ("Pictures", "".join(picture_row([each]) for each in drawn)),
        ("node.yaml", _lines([yaml.safe_dump(parameters, sort_keys=False)])),
    ]
    write_page(out / "page.html", layout.given.absolute().name, problems, blocks)
    print(f"\n{out / 'page.html'}: the same with pictures")
    if not found.usable:
        (out / "node.yaml").unlink(missing_ok=True)  # of an earlier run, for another bag
        return 1
    write_parameter_file(out / "node.yaml", parameters)
    words = ["cmdfusion_node", "--ros-args", "--params-file", str(out / "node.yaml")]
    words += [word for wanted, topic in remaps.items() for word in ("-r", f"{wanted}:={topic}")]
    print(printable(shlex.join(words), _COMMAND))
    return 0


def _other_clouds(
    bag: Bag, counts: dict[str, int], transforms: BagTransforms
) -> tuple[dict[str, CloudFindings], list[str], list[str]]:
    """({topic: CloudFindings} of those that were not taken, why others cannot be read, topics that
    are too many to look at: each costs a pass over the bag). `counts` is {topic: clouds}.
    """
    found, unreadable = {}, []
    others = sorted(counts, key=lambda topic: (-counts[topic], topic))
    for topic in sorted(others[:_MOST_OTHERS]):
        findings = find_in_clouds(bag, topic, transforms)
        if findings.clouds:
            found[topic] = findings
        else:
            unreadable.append(f"{topic}: none of its {counts[topic]} clouds can be read")
    return found, unreadable, others[_MOST_OTHERS:]


def _without_clouds(
    bag: Bag,
    out: Path,
    figures_file: str | None,
    why: str,
    source: Path | None,
    notes: Sequence[str] = (),
) -> int:
    """Say of a bag without any cloud to read what it has, and what to do; 1."""
    there = [
        f"{topic} ({info.msgtype}, {info.count})" for topic, info in sorted(bag.topics.items())
    ]
    problems = [
        f"{why}: nothing would be labelled; topics: {', '.join(there) or 'none'}",
        *notes,
        *foreign_notes(bag),
    ]
    _say(f"NOTE      {problem}" for problem in problems)
    out.mkdir(parents=True, exist_ok=True)
    given, kind = source or bag.path, "points" if source else bag.kind
    figures = {"bag": str(given), "kind": kind, "usable": 0.0, "problems": problems}
    for place in (str(out / "summary.json"), figures_file):
        write_figures(place, figures)
    (out / "node.yaml").unlink(missing_ok=True)
    write_page(out / "page.html", given.absolute().name, problems, [])
    return 1


def intentions(layout: BagLayout, found: CloudFindings) -> list[str]:
    """What the node would do with the bag, a line each."""
    if not found.usable:
        return [f"would label nothing of {layout.cloud_topic}"]
    parameters, _ = node_parameters(layout)
    lines = [f"labels {layout.cloud_topic}, seen from: {found.placement.words or 'as it comes'}"]
    for camera in layout.cameras:
        if camera.problems:
            lines.append(f"leaves out {camera.name}: {'; '.join(camera.problems)}")
        else:
            late = camera.timing.lag / 1e9 - parameters["sync.max_wait"]
            if late > 0:
                lines.append(
                    f"leaves out {camera.name} mostly: its images come "
                    f"{camera.timing.lag / 1e6:.0f} ms after their clouds, later than "
                    "sync.max_wait; cmdfusion label waits longer"
                )
                continue
            offset, tolerance = camera.timing.offset / 1e6, camera.timing.tolerance / 1e6
            lines.append(
                f"fuses {camera.name}: the image {offset:+.1f} ms from the cloud's stamp, "
                f"{tolerance:.1f} ms at most from there"
            )
    if layout.usable_cameras:
        lines.append(f"waits at most {1e3 * parameters['sync.max_wait']:.0f} ms for images")
    return lines


def summary(layout: BagLayout, found: CloudFindings) -> dict[str, Any]:
    """Plain values of all that was found."""
    return {
        "bag": str(layout.given),
        "kind": layout.kind,
        "seconds": round((layout.end - layout.start) / 1e9, 3),
        "cloud_topic": layout.cloud_topic,
        "cloud_frame": layout.cloud_frame,
        "clouds_in_bag": layout.num_clouds,
        "cloud_hz": round(1e9 / layout.cloud_period_ns, 3) if layout.cloud_period_ns else None,
        **found.to_dict(),
        "notes": list(layout.notes),
    }


def pictures(bag: Bag, layout: BagLayout, found: CloudFindings) -> list[tuple[str, np.ndarray]]:
    """(caption, (H, W, 3) uint8 RGB): a cloud from above by height over the ground, and its points
    in the image of each camera by distance.
    """
    if not len(found.sample):
        return []
    ground = find_ground(sample_points(found.sample), np.zeros(3), np.array((0.0, 0.0, 1.0)))
    over = found.sample[:, 2] if ground is None else found.sample @ ground.up - ground.level
    colors = _colored(over, _HEIGHTS)
    if ground is not None:
        colors[np.abs(over) < _ON_GROUND] = _GROUND
    above = "the sensor" if ground is None else "the plane of the ground about it, which is grey"
    made = [
        (
            f"one cloud as the network sees it, forward is up; blue {_HEIGHTS[0]:g} m, red "
            f"{_HEIGHTS[1]:g} m over {above}",
            bird_eye(found.sample, colors, view_reach(found.sample), 900),
        )
    ]
    for camera in layout.usable_cameras[:MOST_LOOKED_AT]:
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


def write_page(
    path: Path, name: str, problems: Sequence[str], blocks: Sequence[tuple[str, str]]
) -> None:
    """All of it as one HTML file with its pictures inside; `blocks` are (heading, HTML)."""
    parts = [
        page_opening(name, _STYLE),
        f"<pre class={'bad' if problems else 'good'}>"
        + html.escape("\n".join(problems) or "nothing stands out")
        + "</pre>",
    ]
    parts += [f"<h2>{html.escape(heading)}</h2>{block}" for heading, block in blocks]
    path.write_text("\n".join(parts) + "\n")


def _lines(lines: Sequence[str]) -> str:
    return f"<pre>{html.escape(chr(10).join(lines))}</pre>"
