"""A network, drives and a teacher -> a network that knows the drives, if it does.

Stages, each kept in a work folder, so that a run that was killed goes on: the teacher's labels,
labels carried through each drive, lessons as a folder in SemanticKITTI's layout, made-up streets,
a training by the ordinary Trainer, and the verdict of the stretches that were held out.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmdfusion_ros.adaptation.carried_labels import carry_labels, join_labels
from cmdfusion_ros.adaptation.lessons import TrustCounts, make_lesson
from cmdfusion_ros.adaptation.settings import AdaptSettings
from cmdfusion_ros.adaptation.stretches import held_out_stretches
from cmdfusion_ros.adaptation.teacher_labels import TeacherLabels, ask_teacher
from cmdfusion_ros.checkpoint.file import Checkpoint, load_checkpoint, replace_card
from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.config import settings_to_dict
from cmdfusion_ros.data.augment.random_changes import AugmentSettings
from cmdfusion_ros.data.drives.drive import Drive
from cmdfusion_ros.data.readers.data_settings import DataSettings
from cmdfusion_ros.data.readers.semantic_kitti import SemanticKitti
from cmdfusion_ros.evaluation.metrics import ConfusionMatrix
from cmdfusion_ros.frame import IGNORE_LABEL, Frame
from cmdfusion_ros.image_teachers.teacher import ImageTeacher
from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.training.recipe import Recipe
from cmdfusion_ros.training.trainer import STATE, Trainer

LESSONS, STREETS, RUN, VERDICT = "lessons", "streets", "run", "verdict.json"
_LEAST_POINTS = 50  # of the teacher in a class that counts in the mean
_STREET_TEST = 5  # of the streets every fifth is not learnt but tells what was forgotten


@dataclass(frozen=True, eq=False)
class DrivePlan:
    """One drive with its teacher's labels, and which of its scans are learnt and which judge."""

    drive: Drive
    taught: TeacherLabels
    learnt: tuple[int, ...]
    judges: tuple[int, ...]


def plan_drive(
    drive: Drive,
    teacher: ImageTeacher,
    settings: AdaptSettings,
    work: Path,
    done: Callable[[int], None],
) -> DrivePlan:
    """Ask the teacher about a drive, kept in `work`, and part it; errors as of `ask_teacher` and
    `held_out_stretches`."""
    taught = ask_teacher(drive, teacher, settings.teaching, work / "teacher" / drive.name, done)
    stamps = [drive.read(index, images=False).stamp for index in range(len(drive))]
    learnt, judges = held_out_stretches(stamps, settings.held_out, settings.gap)
    return DrivePlan(drive, taught, tuple(learnt), tuple(judges))


def write_lessons(
    plans: list[DrivePlan],
    segmenter: Segmenter,
    settings: AdaptSettings,
    folder: Path,
    done: Callable[[int], None],
) -> dict[str, float]:
    """Write the scans to learn, with their lessons as labels, as sequences 00, 01, ... of `folder`.

    Returns:
        shares of the points: `direct` labels of the teacher, with `carried` ones, `learnt` in all.

    Raises:
        ValueError: the teacher gave no label to any of these scans.
    """
    class_map, lessons = segmenter.class_map, settings.lessons
    counts = TrustCounts(class_map.num_classes)
    frames: list[tuple[DrivePlan, int, np.ndarray]] = []
    totals = {"direct": 0, "carried": 0, "learnt": 0, "points": 0}
    own: dict[tuple[str, int], tuple[np.ndarray, np.ndarray]] = {}
    for plan in plans:
        carried = carry_labels(taught_scans(plan), class_map, lessons)
        for index in plan.learnt:
            frame, (direct, _) = plan.drive.read(index, images=False), plan.taught.read(index)
            joined = join_labels(direct, carried.of(frame), class_map)
            answer = segmenter.segment(frame)
            own[plan.drive.name, index] = answer.labels, answer.confidence.astype(np.float16)
            counts.add(answer.labels, answer.confidence, joined)
            frames.append((plan, index, joined))
            totals["points"] += len(joined)
            totals["direct"] += int((direct != IGNORE_LABEL).sum())
            totals["carried"] += int((joined != IGNORE_LABEL).sum())
            done(1)
    if not totals["direct"]:
        raise ValueError(
            "the teacher labels no point of these drives: `cmdfusion label --teacher` shows why; do"
            " the cameras see what the LiDAR does, and does the teacher know streets?"
        )
    trust = counts.trust(lessons.own_agreement)
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    for plan, index, joined in frames:
        labels, confidence = own[plan.drive.name, index]
        lesson = make_lesson(
            joined, labels, confidence.astype(np.float32), trust, class_map, lessons
        )
        totals["learnt"] += int((lesson != IGNORE_LABEL).sum())
        sequence = part / "sequences" / f"{plans.index(plan):02d}"
        _write_scan(sequence, index, plan.drive.read(index, images=False), class_map, lesson)
    shutil.rmtree(folder, ignore_errors=True)  # of a run killed before it noted the shares
    part.rename(folder)
    points = max(totals.pop("points"), 1)
    return {name: count / points for name, count in totals.items()}


def taught_scans(plan: DrivePlan) -> Iterator[tuple[Frame, np.ndarray, np.ndarray]]:
    """What is carried: the labels of the scans that are learnt alone, so that those that judge stay
    unseen."""
    for index in plan.learnt:
        yield plan.drive.read(index, images=False), *plan.taught.read(index)


def _write_scan(sequence: Path, index: int, frame: Frame, class_map, labels: np.ndarray) -> None:
    for name in ("velodyne", "labels"):
        (sequence / name).mkdir(parents=True, exist_ok=True)
    cloud = np.column_stack([frame.points, frame.intensity]).astype("<f4")
    cloud.tofile(sequence / "velodyne" / f"{index:06d}.bin")
    raw = class_map.raw_from_labels(labels).astype("<u4")
    raw.tofile(sequence / "labels" / f"{index:06d}.label")


def training_recipe(
    checkpoint: Checkpoint, start: Path, settings: AdaptSettings, num_lessons: int, streets: Path
) -> Recipe:
    """The Recipe that goes on from `checkpoint` (the file `start`) with the lessons and the made-up
    streets, `settings.street_share` of its items from these."""
    names = _street_names(streets, judged=False)
    per_lesson = (1 - settings.street_share) / settings.street_share * len(names) / num_lessons
    repeats = max(round(per_lesson), 1), max(round(1 / per_lesson), 1)
    augment = AugmentSettings(
        sector=settings.sector, sector_around="labels", yaw=180.0, flip=0.5, scale=0.05, shift=0.5,
        shift_z=(-0.1, 0.1), point_dropout=0.2, intensity_dropout=0.1,
    )  # fmt: skip
    street_root = str(streets.resolve())
    return Recipe(
        name=f"{checkpoint.card.get('name', 'network')}_adapted",
        class_map=checkpoint.class_map.name,
        model=checkpoint.model_config,
        train=DataSettings(
            root=LESSONS, dataset="street", called="drive", sequences=("all",), repeat=repeats[0]
        ),
        train_too=(
            DataSettings(
                root=street_root, called="street_adapt", sequences=names, repeat=repeats[1]
            ),
        ),
        start_from=str(start.resolve()),
        augment=augment,
        steps=settings.steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        warm_up=0.1,
        ema_decay=0.99,
        class_weight_power=1 / 3,
        save_every=25,
        seed=settings.seed,
        licence=checkpoint.card.get("licence", ""),
        attribution=checkpoint.card.get("attribution", ""),
    )


def _street_names(streets: Path, judged: bool) -> tuple[str, ...]:
    """Sequences of a folder of made-up streets: those that judge, or the others."""
    folder = streets / "sequences" if (streets / "sequences").is_dir() else streets
    names = sorted(path.parent.name for path in folder.glob("*/velodyne"))
    if len(names) < _STREET_TEST:
        raise ValueError(f"{streets}: expected at least {_STREET_TEST} streets, got {len(names)}")
    return tuple(n for place, n in enumerate(names) if (place % _STREET_TEST == 0) == judged)


def train(recipe: Recipe, work: Path, progress: bool = True) -> Path:
    """Train in `work`/run, or go on there; the path of the network."""
    run = work / RUN
    resume = (run / STATE).exists()
    return Trainer(recipe, work, run, resume=resume).run(progress)


def judge(
    segmenter: Segmenter, plans: list[DrivePlan], streets: Path
) -> dict[str, dict[str, object]]:
    """How a network does, from points alone: {"drives": agreement with the teacher on the scans
    that judge, "streets": against the truth of made-up streets}, each with `mean` (mean IoU over
    classes of 50 labelled points or more), `accuracy`, and `iou` by class."""
    drives = (
        (plan.drive.read(index, images=False), plan.taught.read(index)[0])
        for plan in plans
        for index in plan.judges
    )
    class_map = segmenter.class_map
    made_up = SemanticKitti(streets, _street_names(streets, True), class_map, poses=False)
    return {
        "drives": judge_frames(segmenter, drives),
        "streets": judge_frames(segmenter, ((frame, frame.labels) for frame in made_up)),
    }


def judge_frames(
    segmenter: Segmenter, frames: Iterable[tuple[Frame, np.ndarray]]
) -> dict[str, object]:
    """`summary` of a network's answers to (Frame, (N,) labels to compare with)."""
    matrix = ConfusionMatrix(segmenter.class_map.num_classes)
    for frame, labels in frames:
        matrix.add(labels, segmenter.segment(frame).labels)
    return summary(matrix, segmenter.class_map)


def summary(matrix: ConfusionMatrix, class_map: ClassMap) -> dict[str, object]:
    """Plain values of a ConfusionMatrix, see `judge`."""
    enough = matrix.points >= _LEAST_POINTS
    iou = {
        name: round(float(value), 6)
        for name, value, counts in zip(class_map.names, matrix.iou, enough, strict=True)
        if counts
    }
    mean = round(float(np.mean(list(iou.values()))), 6) if iou else None
    accuracy = None if np.isnan(matrix.accuracy) else round(float(matrix.accuracy), 6)
    points = {name: int(count) for name, count in zip(class_map.names, matrix.points, strict=True)}
    return {"mean": mean, "accuracy": accuracy, "iou": iou, "points": points}


def verdict(before: dict, after: dict, settings: AdaptSettings) -> tuple[bool, str]:
    """(whether the network got better, why in words): on the drives that judge, mean IoU with the
    teacher must have risen by `least_gain` with no fewer points agreeing, or the share of agreeing
    points with no lower mean; and on the streets the mean may fall by `most_forgotten` at most."""
    if before["drives"]["mean"] is None:
        return False, "the teacher labels no point of the scans that judge"
    mean, accuracy = (after["drives"][k] - before["drives"][k] for k in ("mean", "accuracy"))
    street = after["streets"]["mean"] - before["streets"]["mean"]
    words = (
        f"agreement with the teacher on held-out scans: mean IoU {100 * mean:+.1f}, accuracy "
        f"{100 * accuracy:+.1f} points; made-up streets: mean IoU {100 * street:+.1f} points"
    )
    if street < -settings.most_forgotten:
        return False, f"it forgot what it knew: {words}"
    if max(mean, accuracy) < settings.least_gain or min(mean, accuracy) < -settings.least_gain:
        return False, f"no gain: {words}"
    return True, f"better: {words}"


def save_adapted(
    network: Path, out: Path, checkpoint: Checkpoint, plans: list[DrivePlan], teacher: str,
    settings: AdaptSettings, result: dict[str, object],
) -> None:  # fmt: skip
    """Write the trained `network` to `out`, its card saying how it was adapted."""
    card = {
        **load_checkpoint(network).card,
        "adaptation": {
            "drives": [
                {"name": plan.drive.name, "scans": len(plan.drive), "odometry": plan.drive.odometry}
                for plan in plans
            ],
            "trained_on": [plan.drive.names[i] for plan in plans for i in plan.learnt],
            "judged_on": [plan.drive.names[i] for plan in plans for i in plan.judges],
            "teacher": teacher,
            "settings": settings_to_dict(settings, only_changed=True),
            **result,
        },
    }
    replace_card(network, card, checkpoint.temperatures, out=out)


def keep(path: Path, make: Callable[[], dict]) -> dict:
    """The plain values of a JSON file, made and written where it is not there yet."""
    if not path.exists():
        values = make()
        part = path.with_name(path.name + ".part")
        part.write_text(json.dumps(values, indent=1) + "\n")
        part.rename(path)
    return json.loads(path.read_text())
