"""What adaptation is worth, against the truth: a drive's first part is learnt, the rest tests.

    python benchmarks/adaptation.py --drive $CMDFUSION_DATA/bags/pandaset_002 \\
        --teacher $CMDFUSION_DATA/teachers/deeplab*.tflite --streets STREETS --work WORK
    python benchmarks/adaptation.py --kitti $CMDFUSION_DATA/semantickitti --test 00 04 ...

Printed first: how many points the lessons label, and how many of those labels are right. Rows: the
network before; the control, as many steps on made-up streets alone; the lessons, what
`cmdfusion adapt` learns; with --truth also the true labels in their place. For KITTI every sequence
but the one tested is learnt, each in turn.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cmdfusion_ros.adaptation.adapt import (
    LESSONS,
    DrivePlan,
    judge_frames,
    taught_scans,
    train,
    training_recipe,
    write_lessons,
)
from cmdfusion_ros.adaptation.carried_labels import carry_labels, join_labels
from cmdfusion_ros.adaptation.settings import AdaptSettings, LessonSettings
from cmdfusion_ros.adaptation.teacher_labels import TeacherLabels, ask_teacher
from cmdfusion_ros.checkpoint.file import load_checkpoint
from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.cli.runs.terminal import ScanProgress
from cmdfusion_ros.config import load_settings
from cmdfusion_ros.data.bags.frame_bag import read_bag_labels
from cmdfusion_ros.data.drives.bag_drive import BagDrive
from cmdfusion_ros.data.drives.folder_drive import KittiDrive
from cmdfusion_ros.data.readers.semantic_kitti import SemanticKitti
from cmdfusion_ros.frame import IGNORE_LABEL, Frame
from cmdfusion_ros.image_teachers.teacher import open_image_teacher
from cmdfusion_ros.inference import Segmenter, default_checkpoint_path

STREET = load_class_map("street")
Tests = list[tuple[Frame, np.ndarray]]  # scans and their true labels


def true_labels_of_bag(drive: BagDrive) -> list[np.ndarray]:
    """The true labels of each scan, in the order of its Frame's points."""
    truth, found = read_bag_labels(drive.layout.path), []
    assert truth is not None, f"{drive.layout.path}: no labels beside it"
    for index in range(len(drive)):
        cloud = drive.read_cloud(index, images=False)
        raw = truth.raw[cloud.frame.stamp]
        found.append(STREET.labels_from_raw(raw, truth.dataset)[cloud.rows])
    return found


def write_truth(labels: list[np.ndarray], folder: Path) -> TeacherLabels:
    """True labels in the place of a teacher's."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = TeacherLabels(folder)
    for index, each in enumerate(labels):
        kept.write(index, each, (each != IGNORE_LABEL).astype(np.float32))
    return kept


def print_lesson_quality(plans: list[DrivePlan], folder: Path, truth: Path) -> None:
    """How many points have the teacher's label, a carried one too, a lesson, and how many of those
    whose true class is known are right."""
    kinds = ("teacher", "carried", "lesson")
    counts = {kind: np.zeros(3, np.int64) for kind in kinds}  # points, of known truth, right
    total = 0
    for number, plan in enumerate(plans):
        carried = carry_labels(taught_scans(plan), STREET, LessonSettings())
        lessons = SemanticKitti(folder, [f"{number:02d}"], STREET, "street", poses=False)
        for place, index in enumerate(plan.learnt):
            frame, direct = plan.drive.read(index, images=False), plan.taught.read(index)[0]
            true = TeacherLabels(truth / plan.drive.name).read(index)[0]
            joined = join_labels(direct, carried.of(frame), STREET)
            total += len(true)
            lesson = lessons[place].labels
            assert lesson is not None
            for kind, labels in zip(kinds, (direct, joined, lesson), strict=True):
                known = labels != IGNORE_LABEL
                both = known & (true != IGNORE_LABEL)
                counts[kind] += known.sum(), both.sum(), (labels[both] == true[both]).sum()
    for kind, (points, known, right) in counts.items():
        shares = 100 * points / total, 100 * right / max(known, 1)
        print(f"{kind:<10}{shares[0]:6.1f} % of the points, {shares[1]:5.1f} % right", flush=True)


def rows_of(
    args: argparse.Namespace,
    plans: list[DrivePlan],
    tests: Tests,
    work: Path,
    settings: AdaptSettings,
) -> dict[str, dict[str, Any]]:
    """{row: scores} of one split. tests: [(Frame, true labels)]."""
    start = Path(args.checkpoint or default_checkpoint_path())
    checkpoint, segmenter = (
        load_checkpoint(start),
        Segmenter(start, cpu_threads=args.threads, images="on"),
    )
    rows = {} if args.lessons_only else {"before": judge_frames(segmenter, tests)}
    kinds = ["lessons", "control"] + (["truth"] if args.truth else [])
    for kind in kinds:
        folder = work / kind
        network = folder / "run" / "network.safetensors"
        if kind == "lessons" and not (folder / LESSONS).exists():
            folder.mkdir(parents=True, exist_ok=True)
            lent = ScanProgress(sum(len(plan.learnt) for plan in plans))
            print(write_lessons(plans, segmenter, settings, folder / LESSONS, lent.add))
        if kind == "lessons":
            print_lesson_quality(plans, folder / LESSONS, work.parent / "truth")
            if args.lessons_only:
                return rows
        if kind == "truth" and not (folder / LESSONS).exists():
            folder.mkdir(parents=True, exist_ok=True)
            true = [replace(plan, taught=plan_truth(plan, work)) for plan in plans]
            unsure = replace(
                settings.lessons, own_agreement=1.0, carried_share=1.0, seldom_found=()
            )
            write_lessons(true, segmenter, replace(settings, lessons=unsure), folder / LESSONS,
                          lambda count: None)  # fmt: skip
        number = sum(len(plan.learnt) for plan in plans)
        recipe = training_recipe(checkpoint, start, settings, number, Path(args.streets))
        if kind == "control":
            recipe = replace(recipe, train=recipe.train_too[0], train_too=())
        train(recipe, folder)
        rows[kind] = judge_frames(Segmenter(network, cpu_threads=args.threads, images="on"), tests)
        show(rows)
    return rows


def plan_truth(plan: DrivePlan, work: Path) -> TeacherLabels:
    return TeacherLabels(work.parent / "truth" / plan.drive.name)


def show(rows: dict[str, dict[str, Any]]) -> None:
    names = list(rows)
    print(f"{'':<16}" + "".join(f"{name:>10}" for name in names))
    for key in ("mean", "accuracy"):
        print(f"{key:<16}" + "".join(f"{100 * rows[name][key]:>10.1f}" for name in names))
    for label in rows["before"]["iou"]:
        values = (100 * rows[name]["iou"].get(label, float("nan")) for name in names)
        print(f"{label:<16}" + "".join(f"{value:>10.1f}" for value in values), flush=True)


def bag_split(
    args: argparse.Namespace, settings: AdaptSettings, work: Path
) -> tuple[list[DrivePlan], Tests]:
    """(plans, tests): the first half of a bag is learnt, its second half tests."""
    drive = BagDrive(args.drive)
    half = len(drive) // 2
    teacher = open_image_teacher(args.teacher, args.threads)
    asked = ScanProgress(len(drive))
    taught = ask_teacher(
        drive, teacher, settings.teaching, work / "teacher" / drive.name, asked.add
    )
    truth = true_labels_of_bag(drive)
    write_truth(truth, work / "truth" / drive.name)
    plan = DrivePlan(drive, taught, tuple(range(half)), tuple(range(half, len(drive))))
    return [plan], [(drive.read(i, images=False), truth[i]) for i in plan.judges]


def kitti_plans(
    args: argparse.Namespace, settings: AdaptSettings, work: Path
) -> dict[str, tuple[DrivePlan, Tests]]:
    """{sequence: (DrivePlan of all its scans, its tests)}."""
    root, teacher = Path(args.kitti), open_image_teacher(args.teacher, args.threads)
    found = {}
    for folder in sorted((root / "sequences").iterdir()):
        drive = KittiDrive(root, folder.name)
        asked = ScanProgress(len(drive))
        kept = work / "teacher" / drive.name
        taught = ask_teacher(drive, teacher, settings.teaching, kept, asked.add)
        scans = SemanticKitti(root, [folder.name], STREET, poses=False)
        truth = [frame.labels for frame in scans if frame.labels is not None]
        write_truth(truth, work / "truth" / drive.name)
        tests = [(drive.read(i, images=False), truth[i]) for i in range(len(drive))]
        found[folder.name] = DrivePlan(drive, taught, tuple(range(len(drive))), ()), tests
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--drive", help="bag with labels beside it")
    parser.add_argument("--kitti", help="folder in SemanticKITTI's layout, with labels")
    parser.add_argument("--test", nargs="+", default=(), help="KITTI sequences to test, in turn")
    parser.add_argument("--teacher", required=True, help="2D network, .onnx or .tflite")
    parser.add_argument("--streets", required=True, help="folder of made-up streets")
    parser.add_argument("--work", required=True, help="folder for everything that is made")
    parser.add_argument("--checkpoint", help="network to start from (default: the one shipped)")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--settings", help="AdaptSettings as YAML")
    parser.add_argument("--truth", action="store_true", help="also learn the true labels")
    parser.add_argument("--lessons-only", action="store_true", help="make lessons, train nothing")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    settings = load_settings(AdaptSettings, args.settings) if args.settings else AdaptSettings()
    settings = replace(settings, steps=args.steps)
    work = Path(args.work)
    results = {}
    if args.drive:
        plans, tests = bag_split(args, settings, work)
        results["bag"] = rows_of(args, plans, tests, work / f"bag_{args.steps}", settings)
    if args.kitti:
        every = kitti_plans(args, settings, work)
        for name in args.test or every:
            plans = [plan for other, (plan, _) in every.items() if other != name]
            folder = work / f"without_{name}_{args.steps}"
            results[name] = rows_of(args, plans, every[name][1], folder, settings)
    (work / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
