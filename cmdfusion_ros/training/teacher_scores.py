"""What teachers know that their student does not: both on the same points, each as it sees them."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.data.augment.scan_context import ViewSettings
from cmdfusion_ros.data.readers.data_settings import Mixture
from cmdfusion_ros.data.readers.scan_set import ScanSet
from cmdfusion_ros.evaluation.metrics import ConfusionMatrix
from cmdfusion_ros.frame import IGNORE_LABEL
from cmdfusion_ros.geometry.voxels import VoxelGrid
from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.training.distillation import Distiller


def score_teachers(
    distillers: Iterable[Distiller],
    student: Segmenter,
    student_view: ViewSettings,
    scans: ScanSet | Mixture,
    grid: VoxelGrid,
) -> list[dict[str, Any]]:
    """Scores of every frozen teacher that knows the student's classes, beside the student's.

    A teacher is shown what it is shown in training, but unchanged: sweeps, completed clouds, the
    images. Both are scored on those of the scan's own labelled points that the teacher answers.

    Args:
        grid: VoxelGrid of the student's batches.

    Returns:
        for each: teacher (its name), view, points, miou and student (mean IoU over the classes that
        occur; of instance_fused over those that it completes), and better: whether the teacher is.
    """
    return [
        entry
        for distiller in distillers
        if (entry := _scored(distiller, student, student_view, scans, grid)) is not None
    ]


def _scored(distiller, student, student_view, scans, grid):
    teacher, view, class_map = distiller.teacher, distiller.settings.view, student.class_map
    if teacher is None:
        return None
    theirs, ours = (ConfusionMatrix(class_map.num_classes) for _ in range(2))
    for index in range(len(scans)):
        scan = scans[index]
        frame = view.apply(scan, scans.neighbours(index, view.offsets), class_map)
        batch = make_batch([frame], grid, distiller.device)
        answer = teacher.answer(batch, [frame], distiller.device)
        if answer.logits is None or answer.logits.shape[1] != class_map.num_classes:
            return None
        number = scan.num_points
        labels = scan.labels
        if answer.answered is not None:
            seen = answer.answered[:number].cpu().numpy()
            labels = np.where(seen, labels, IGNORE_LABEL).astype(np.uint8)
        theirs.add(labels, answer.logits[:number].argmax(1).cpu().numpy().astype(np.uint8))
        shown = student_view.apply(scan, scans.neighbours(index, student_view.offsets), class_map)
        ours.add(labels, student.segment(shown).labels[:number])
    if not theirs.counts.any():
        return None
    taught = [class_map.label(name) for name in view.classes] or range(class_map.num_classes)
    miou, of_student = (_mean_iou(matrix, taught) for matrix in (theirs, ours))
    return {
        "teacher": teacher.card.get("name", distiller.settings.path),
        "view": view.kind,
        "points": int(theirs.counts.sum()),
        "miou": miou,
        "student": of_student,
        "better": miou is not None and of_student is not None and miou > of_student,
    }


def _mean_iou(matrix: ConfusionMatrix, labels: Sequence[int]) -> float | None:
    values = [matrix.iou[label] for label in labels if matrix.points[label]]
    return round(float(np.mean(values)), 6) if values else None


def told(entry: dict[str, Any]) -> str:
    """One line for a person: a teacher's score beside its student's, with a warning where the
    teacher is not the better."""
    name, view = entry["teacher"], entry["view"].replace("_", " ")
    if entry["miou"] is None:
        return f"teacher {name} ({view}): no point of what it teaches is labelled here"
    line = f"teacher {name} ({view}): mIoU {entry['miou']}, student {entry['student']}"
    return line if entry["better"] else f"{line}\nWARNING: it is no better than its student"
