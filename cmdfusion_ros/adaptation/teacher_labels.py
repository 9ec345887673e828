"""What the teacher says of every scan of a drive, asked once and kept in a folder, so that a run
that was killed goes on where it was."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmdfusion_ros.config import settings_to_dict
from cmdfusion_ros.data.drives.drive import Drive
from cmdfusion_ros.data.npz import read_npz
from cmdfusion_ros.image_teachers.point_labels import PointLabelSettings, label_points
from cmdfusion_ros.image_teachers.teacher import ImageTeacher

_MADE_OF = "made_of.json"


@dataclass(frozen=True)
class TeacherLabels:
    """The kept labels of one drive: one file a scan."""

    folder: Path

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """((N,) uint8 labels, (N,) float32 confidence) of scan `index`, in its order of points."""
        file = read_npz(self._path(index), "labels", "confidence")
        return file["labels"], file["confidence"].astype(np.float32)

    def has(self, index: int) -> bool:
        return self._path(index).exists()

    def write(self, index: int, labels: np.ndarray, confidence: np.ndarray) -> None:
        part = self.folder / f"{index:06d}.part"
        with open(part, "wb") as stream:
            np.savez_compressed(stream, labels=labels, confidence=confidence.astype(np.float16))
        os.replace(part, self._path(index))

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:06d}.npz"


def ask_teacher(
    drive: Drive,
    teacher: ImageTeacher,
    settings: PointLabelSettings,
    folder: Path,
    done: Callable[[int], None],
) -> TeacherLabels:
    """The labels that a teacher gives every scan of a drive, from `folder` where they are there.

    Args:
        done: called with 1 after each scan.

    Raises:
        ValueError: `folder` holds labels of another teacher, drive or settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _check_made_of(folder, drive, teacher, settings)
    kept = TeacherLabels(folder)
    for index in range(len(drive)):
        if not kept.has(index):
            frame = drive.read(index)
            found = label_points(
                frame, [teacher.answer(view.image) for view in frame.views], settings
            )
            kept.write(index, found.labels, found.confidence)
        done(1)
    return kept


def _check_made_of(
    folder: Path, drive: Drive, teacher: ImageTeacher, settings: PointLabelSettings
) -> None:
    names = hashlib.sha256("\n".join(drive.names).encode()).hexdigest()
    made_of = {
        "teacher": teacher.name,
        "drive": drive.name,
        "odometry": drive.odometry,
        "scans": names,
        "settings": settings_to_dict(settings),
    }
    path = folder / _MADE_OF
    if not path.exists():
        path.write_text(json.dumps(made_of, indent=1) + "\n")
        return
    before = json.loads(path.read_text())
    changed = sorted(key for key in made_of if before.get(key) != made_of[key])
    if changed:
        raise ValueError(
            f"{folder}: holds labels made with another {', '.join(changed)}; remove it, or give "
            "another --work folder"
        )
