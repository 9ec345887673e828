"""What `cmdfusion label` makes of its labels besides the bag: files of the clouds, a contact sheet,
a page, and a recording for Rerun.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.cli.runs.label_rerun import write_rerun
from cmdfusion_ros.cli.runs.record import RunRecord
from cmdfusion_ros.data.bags.bag import Bag, read_labelled_clouds
from cmdfusion_ros.data.bags.bag_layout import BagLayout
from cmdfusion_ros.data.point_files import SUFFIXES, LabelledPoints, write_cloud
from cmdfusion_ros.evaluation.cloud_page import (
    MAX_SCANS,
    ViewedScan,
    contact_sheet,
    write_cloud_page,
)
from cmdfusion_ros.evaluation.rerun_file import require_rerun
from cmdfusion_ros.labelling.offline import LABELLED_TOPIC
from cmdfusion_ros.labelling.snapshot import camera_pictures, labels_from_published

_KINDS = tuple(suffix.removeprefix(".") for suffix in SUFFIXES)


def add_result_options(parser: argparse.ArgumentParser) -> None:
    """Add --page, --sheet, --rrd, --cloud-files and --cloud-files-as."""
    parser.add_argument(
        "--page",
        metavar="FILE.html",
        help="also one page to turn the labelled clouds in, step through time and see the cameras "
        f"(of a long bag {MAX_SCANS} scans)",
    )
    parser.add_argument(
        "--sheet",
        metavar="FILE.png",
        help=f"also one picture of the clouds from above (of a long bag {MAX_SCANS})",
    )
    parser.add_argument(
        "--rrd",
        metavar="FILE.rrd",
        help="also a recording for the Rerun viewer: all labelled clouds, cameras, pictures, poses",
    )
    parser.add_argument(
        "--cloud-files", metavar="DIR", help="also a file of each labelled cloud, into a new folder"
    )
    parser.add_argument(
        "--cloud-files-as", choices=_KINDS, default="ply", help="kind of those files (default: ply)"
    )


def asked_results(args: argparse.Namespace) -> dict[str, str | None]:
    """{option: what it was given}."""
    given = {"--page": args.page, "--sheet": args.sheet, "--rrd": args.rrd}
    return {**given, "--cloud-files": args.cloud_files}


def check_results(args: argparse.Namespace) -> None:
    """Refuse what would fail after the labelling.

    Raises:
        ValueError: wrong ending, or two results are to lie at one place. FileExistsError: a result
            is there. FileNotFoundError: the folder for it is not. ModuleNotFoundError: Rerun is
            asked for and not installed.
    """
    asked = asked_results(args)
    for option, ending in (("--page", ".html"), ("--sheet", ".png"), ("--rrd", ".rrd")):
        if asked[option] and Path(asked[option]).suffix != ending:
            raise ValueError(f"{option} {asked[option]}: expected a name that ends in {ending}")
    places = {option: Path(place).resolve() for option, place in asked.items() if place}
    out = Path(args.out).resolve()
    for option, place in places.items():
        if place == out or out in place.parents:
            raise ValueError(f"{option} {place}: lies in --out, a bag; choose another place")
        if place.exists():
            raise FileExistsError(f"{option} {place}: exists; move it away, or choose another name")
        if not place.parent.is_dir():
            raise FileNotFoundError(f"{option} {place}: no folder {place.parent}; make it first")
    if args.rrd:
        require_rerun()


def write_results(
    args: argparse.Namespace, layout: BagLayout, record: RunRecord, class_map: ClassMap
) -> None:
    """Write what was asked for, and say where it lies; nothing where no cloud was labelled."""
    if not record.returned:
        return
    if args.cloud_files:
        count = _write_clouds(
            Path(args.out), Path(args.cloud_files), args.cloud_files_as, class_map
        )
        print(f"  {args.cloud_files}: {count} clouds as .{args.cloud_files_as}")
    silences = layout.silences(args.silence)
    if args.rrd:
        clouds, pictures = write_rerun(args.rrd, layout, Path(args.out), class_map, silences)
        print(f"  {args.rrd}: {clouds} clouds and {pictures} pictures for `rerun {args.rrd}`")
    if not (args.page or args.sheet):
        return
    scans = _scans(layout, Path(args.out), record, class_map, bool(args.page), silences)
    if args.sheet:
        cv2.imwrite(str(args.sheet), contact_sheet(scans, class_map)[:, :, ::-1])
        print(f"  {args.sheet}: the clouds from above")
    if args.page:
        write_cloud_page(args.page, f"{layout.given.absolute().name}, labelled", scans, class_map)
        size = Path(args.page).stat().st_size / 1e6
        print(
            f"  {args.page}: {len(scans)} of {len(record.returned)} clouds to turn, {size:.1f} MB"
        )


def _read(labelled: Path, class_map: ClassMap) -> Iterator[tuple[int, LabelledPoints]]:
    """(stamp, its points that are any: finite, and not the origin) of each labelled cloud."""
    for stamp, columns in read_labelled_clouds(labelled, LABELLED_TOPIC):
        points = np.stack([columns[axis] for axis in "xyz"], axis=1).astype(np.float64)
        kept = np.isfinite(points).all(axis=1) & points.any(axis=1)
        labels = labels_from_published(columns["label"], class_map)
        intensity, confidence = (
            columns[name].astype(np.float32) for name in ("intensity", "confidence")
        )
        yield (
            stamp,
            LabelledPoints(
                points[kept], intensity[kept], labels[kept], confidence[kept], class_map
            ),
        )


def _write_clouds(labelled, folder, kind, class_map):
    folder.mkdir()
    for stamp, cloud in _read(labelled, class_map):
        write_cloud(folder / f"{stamp}.{kind}", cloud)
    return len(list(folder.iterdir()))


def _scans(layout, labelled, record, class_map, with_cameras, silences):
    """The ViewedScans of a run, in order of stamp; of many, MAX_SCANS evenly spread."""
    stamps = sorted(record.returned)
    places = np.unique(np.linspace(0, len(stamps) - 1, min(MAX_SCANS, len(stamps))).round())
    wanted = {stamps[int(place)]: int(place) for place in places}
    scans = {}
    with Bag(layout.path) as bag:
        for stamp, cloud in _read(labelled, class_map):
            if stamp not in wanted:
                continue
            points, views = cloud.points.astype(np.float32), ()
            if with_cameras:
                arguments = (bag, layout, stamp, points, cloud.labels, class_map, silences)
                pictures = camera_pictures(*arguments)
                views = tuple((f"{each.name}  {each.caption}", each.image) for each in pictures)
            name = f"scan {wanted[stamp] + 1} +{(stamp - stamps[0]) / 1e9:.2f} s"
            mode = record.modes.get(stamp, "").replace("_", " ")
            scans[stamp] = ViewedScan(name, mode, points, cloud.labels, views)
    return [scans[stamp] for stamp in sorted(scans)]
