"""`cmdfusion label SOURCE --format semantickitti`: scans with a network's labels in the folder of a
labelling tool, all of them or those worth a person's time.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from cmdfusion_ros.cli.runs.drives import open_drives
from cmdfusion_ros.cli.runs.terminal import ScanProgress
from cmdfusion_ros.data.drives.drive import Drive
from cmdfusion_ros.data.labelling_folder import LabellingFolder, new_sequence, write_class_list
from cmdfusion_ros.data.readers.cloud_files import cloud_files, write_cloud_bag
from cmdfusion_ros.frame import Frame, Prediction
from cmdfusion_ros.labelling.model import AnySegmenter, open_segmenter
from cmdfusion_ros.labelling.sections import ModelSettings
from cmdfusion_ros.labelling.taxonomy import open_taxonomy
from cmdfusion_ros.labelling.worth_labelling import descriptor, uncertainty, worth_labelling


def label_folder(args: argparse.Namespace) -> int:
    """Write the folder; 0."""
    if args.silence:
        raise ValueError("--silence goes with --format bag")
    if args.choose is not None and args.choose < 1:
        raise ValueError(f"--choose {args.choose}: expected 1 or more")
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
        checkpoint=checkpoint, device=args.device, backend=args.backend, warmup=0
    )
    segmenter, _ = open_segmenter(settings)
    taxonomy = open_taxonomy(segmenter.class_map, args.classes or "model")
    classes = write_class_list(args.out, taxonomy.class_map)
    for drive in drives:
        new_sequence(args.out, drive.name)
    places = [(drive, index) for drive in drives for index in range(len(drive))]
    if args.choose is not None:
        places = _chosen(places, segmenter, args.choose)
    folders: dict[str, LabellingFolder] = {}
    progress = ScanProgress(len(places))
    for drive, index in places:
        frame, prediction = _segment(drive, index, segmenter)
        if drive.name not in folders:
            folders[drive.name] = LabellingFolder(args.out, drive.name, taxonomy.class_map)
        folders[drive.name].add(frame, taxonomy.translate(prediction).labels)
        progress.add(1)
    progress.finish()
    for folder in folders.values():
        print(f"{folder.path}: open it in point_labeler")
    print(f"{classes}: its classes; copy it over labels.xml beside point_labeler's program")
    print(f"then: cmdfusion train --data {args.out} --classes {args.classes or 'FILE'} --out RUN")
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
