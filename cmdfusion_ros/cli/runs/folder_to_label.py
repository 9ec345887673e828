"""`cmdfusion label SOURCE --format semantickitti` (or supervisely): scans with a network's labels
in the folder of a labelling tool, all of them or those worth a person's time; and a Supervisely
project, with the labels that people gave it, in the folder that training reads.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.cli.runs.drives import open_drives
from cmdfusion_ros.cli.runs.figures import write_figures
from cmdfusion_ros.cli.runs.options import check_threads
from cmdfusion_ros.cli.runs.terminal import ScanProgress
from cmdfusion_ros.data.drives.drive import Drive
from cmdfusion_ros.data.labelling_folder import LabellingFolder, new_sequence, write_class_list
from cmdfusion_ros.data.readers.cloud_files import cloud_files, write_cloud_bag
from cmdfusion_ros.data.supervisely import (
    SuperviselyFolder,
    SuperviselyProject,
    write_class_mapping,
)
from cmdfusion_ros.frame import Frame, Prediction
from cmdfusion_ros.labelling.model import AnySegmenter, open_segmenter
from cmdfusion_ros.labelling.sections import ModelSettings
from cmdfusion_ros.labelling.taxonomy import open_taxonomy
from cmdfusion_ros.labelling.worth_labelling import descriptor, uncertainty, worth_labelling

# what writes a sequence, what writes the list of classes, and what to do with them
FORMATS = {
    "semantickitti": (
        LabellingFolder,
        write_class_list,
        "open in point_labeler, {classes} copied over the labels.xml beside its program",
    ),
    "supervisely": (
        SuperviselyFolder,
        write_class_mapping,
        "import all of {out} into Supervisely as PCD with semantic labels",
    ),
}


def label_folder(args: argparse.Namespace) -> int:
    """Write the folder; 0."""
    check_threads(args)
    if args.silence:
        raise ValueError("--silence goes with --format bag")
    if args.choose is not None and args.choose < 1:
        raise ValueError(f"--choose {args.choose}: expected 1 or more")
    if SuperviselyProject.is_one(args.bag):
        return _take_over(args)
    files = cloud_files(args.bag)
    with tempfile.TemporaryDirectory() as folder:
        source = args.bag
        if files:
            source = str(Path(folder) / Path(args.bag).stem)
            write_cloud_bag(source, files)
        return _label(args, _drives(args, source))


def _drives(args: argparse.Namespace, source: str) -> list[Drive]:
    try:
        return open_drives([source], args.points, args.odometry)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error}; or --odometry none: the tool then shows all scans at one place"
        ) from error


def _label(args: argparse.Namespace, drives: list[Drive]) -> int:
    checkpoint = args.teacher or args.checkpoint
    settings = ModelSettings(
        checkpoint=checkpoint,
        device=args.device,
        backend=args.backend,
        cpu_threads=args.threads or 0,
        warmup=0,
    )
    segmenter, _ = open_segmenter(settings)
    taxonomy = open_taxonomy(segmenter.class_map, args.classes or "model")
    open_sequence, write_classes, advice = FORMATS[args.format]
    classes = write_classes(args.out, taxonomy.class_map)
    for drive in drives:
        new_sequence(args.out, drive.name)
    places = [(drive, index) for drive in drives for index in range(len(drive))]
    if args.choose is not None:
        places = _chosen(places, segmenter, args.choose)
    folders: dict[str, LabellingFolder | SuperviselyFolder] = {}
    progress = ScanProgress(len(places))
    for drive, index in places:
        frame, prediction = _segment(drive, index, segmenter)
        if drive.name not in folders:
            folders[drive.name] = open_sequence(args.out, drive.name, taxonomy.class_map)
        folders[drive.name].add(frame, taxonomy.translate(prediction).labels)
        progress.add(1)
    progress.finish()
    names = [str(folder.path) for folder in folders.values()]
    print(f"{', '.join(names)}: {advice.format(classes=classes, out=args.out)}")
    write_figures(args.json, {"folders": names, "scans": len(places)})
    return 0


def _take_over(args: argparse.Namespace) -> int:
    """A Supervisely project -> the folder that training reads, with the project's labels; 0."""
    if args.format != "semantickitti" or args.choose is not None or args.checkpoint or args.teacher:
        raise ValueError(
            f"{args.bag}: is a Supervisely project, labelled by people; it becomes --format "
            "semantickitti without --choose, --checkpoint and --teacher"
        )
    class_map = load_class_map(args.classes or "street")
    project = SuperviselyProject(args.bag, class_map)
    write_class_list(args.out, class_map)
    folders: dict[str, LabellingFolder] = {}
    for index in range(len(project)):
        name, frame, labels = project.read(index)
        if name not in folders:
            folders[name] = LabellingFolder(args.out, name, class_map)
        folders[name].add(frame, labels)
    names = [str(folder.path) for folder in folders.values()]
    print(f"{', '.join(names)}: {len(project)} scans with the labels of {args.bag}")
    write_figures(args.json, {"folders": names, "scans": len(project)})
    return 0


def _segment(drive: Drive, index: int, segmenter: AnySegmenter) -> tuple[Frame, Prediction]:
    """A scan and its labels, without points so far away that they are no returns."""
    frame = drive.read(index)
    within = getattr(segmenter, "within_reach", lambda points: np.ones(len(points), bool))
    near = within(frame.points)
    if not near.all():
        frame = replace(frame, points=frame.points[near], intensity=frame.intensity[near])
    return frame, segmenter.segment(frame)


def _chosen(
    places: list[tuple[Drive, int]], segmenter: AnySegmenter, count: int
) -> list[tuple[Drive, int]]:
    """Those of the scans that are worth labelling, in their order."""
    descriptors, uncertainties, progress = [], [], ScanProgress(len(places))
    for drive, index in places:
        frame, prediction = _segment(drive, index, segmenter)
        classes = segmenter.class_map.num_classes
        descriptors.append(descriptor(frame.points, prediction, classes))
        uncertainties.append(uncertainty(prediction))
        progress.add(1)
    progress.finish()
    rows = worth_labelling(np.array(descriptors), np.array(uncertainties), count)
    unsure = np.array(uncertainties)
    print(
        f"chosen   {len(rows)} of {len(places)} scans; uncertainty {unsure[rows].mean():.3f} on "
        f"average, {unsure.mean():.3f} of all"
    )
    return [places[row] for row in rows]
