"""What the benchmarks of SemanticKITTI and nuScenes-lidarseg take, written and checked by their
rules (all points, raw ids, nothing else in the archive).
"""

import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.data.npz import read_member

_KITTI_NAME = re.compile(r"sequences/(\d\d)/predictions/(\d{6})\.label")
_META = ("use_camera", "use_lidar", "use_radar", "use_map", "use_external")
_MAX_NAMED = 3  # files that a message names


class SubmissionError(ValueError):
    """A submission that a benchmark would refuse."""


class SemanticKittiArchive:
    """Writes `sequences/11/predictions/000000.label`: uint32 raw ids, one a point. Use it in a
    `with`.

    Args:
        path: .zip to make. class_map: ClassMap of the network; must be semantic_kitti.
    """

    def __init__(self, path: str | Path, class_map: ClassMap):
        _require_map(class_map, "semantic_kitti")
        self._class_map, self._zip = class_map, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)

    def __enter__(self) -> "SemanticKittiArchive":
        return self

    def __exit__(self, *exception: object) -> None:
        self._zip.close()

    def add(self, name: str, labels: np.ndarray) -> None:
        """Labels (N,) of the scan called `name`, "semantic_kitti/11/000000"."""
        _, sequence, stem = name.split("/")
        self._zip.writestr(
            f"sequences/{sequence}/predictions/{stem}.label",
            self._class_map.raw_from_labels(labels).astype("<u4").tobytes(),
        )


def check_semantic_kitti(
    path: str | Path, scans: Mapping[tuple[str, str], int], class_map: ClassMap
) -> None:
    """Raise SubmissionError unless an archive has one label of a class for every point of every
    scan, and nothing else.

    Args:
        path: the .zip.
        scans: {(sequence, stem): number of points} of all scans that must be in it.
        class_map: ClassMap semantic_kitti; an id that is no class (0 too) scores as wrong and is
            refused here.
    """
    allowed = np.array([info.raw for info in class_map.classes])
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise SubmissionError(f"{path}: not a zip archive: {error}") from error
    with archive:
        found = {}
        for name in archive.namelist():
            match = _KITTI_NAME.fullmatch(name)
            if match:
                found[match.groups()] = name
            elif name != "description.txt" and not name.endswith("/"):
                raise SubmissionError(
                    f"{path}: {name} has no place in it; expected "
                    "sequences/11/predictions/000000.label"
                )
        _require_same(
            path,
            set(scans),
            set(found),
            lambda scan: f"sequences/{scan[0]}/predictions/{scan[1]}.label",
        )
        for scan, name in found.items():
            content = read_member(archive, name)
            if len(content) != 4 * scans[scan]:
                raise SubmissionError(
                    f"{path}: {name}: expected {scans[scan]} labels of 4 bytes, got "
                    f"{len(content)} bytes"
                )
            _require_ids(f"{path}: {name}", np.frombuffer(content, "<u4"), allowed)


class NuScenesFolder:
    """Writes `<split>/submission.json` and `lidarseg/<split>/<token>_lidarseg.bin`: uint8 ids 1 to
    16, one a point.

    Args:
        path: folder to make. split: "val" or "test". class_map: ClassMap of the network; must be
            nuscenes.
        use_camera: whether images are used at test time (training with them does not count).
            use_external: whether other data was trained on.
    """

    def __init__(
        self,
        path: str | Path,
        split: str,
        class_map: ClassMap,
        use_camera: bool,
        use_external: bool,
    ):
        _require_map(class_map, "nuscenes")
        self._class_map, self._folder = class_map, Path(path) / "lidarseg" / split
        self._folder.mkdir(parents=True, exist_ok=True)
        meta = dict.fromkeys(_META, False) | {
            "use_lidar": True,
            "use_camera": bool(use_camera),
            "use_external": bool(use_external),
        }
        (Path(path) / split).mkdir(exist_ok=True)
        (Path(path) / split / "submission.json").write_text(
            json.dumps({"meta": meta}, indent=1) + "\n"
        )

    def __enter__(self) -> "NuScenesFolder":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def add(self, name: str, labels: np.ndarray) -> None:
        """Labels (N,) of the scan called `name`, "nuscenes/scene-0003/<token>"."""
        self._class_map.raw_from_labels(labels).astype(np.uint8).tofile(
            self._folder / f"{name.split('/')[-1]}_lidarseg.bin"
        )


def check_nuscenes(path: str | Path, split: str, scans: Mapping[str, int]) -> None:
    """Raise SubmissionError unless a folder has one id of 1 to 16 for every point of every key
    frame, and the five answers of submission.json.

    Args:
        path: the folder. split: as in NuScenesFolder.
        scans: {token: number of points} of all key frames of the split.
    """
    meta_path = Path(path) / split / "submission.json"
    if not meta_path.exists():
        raise SubmissionError(f"{meta_path}: is missing")
    try:
        meta = json.loads(meta_path.read_text()).get("meta", {})
    except ValueError as error:
        raise SubmissionError(f"{meta_path}: not readable as JSON: {error}") from error
    if sorted(meta) != sorted(_META) or not all(isinstance(value, bool) for value in meta.values()):
        raise SubmissionError(
            f"{meta_path}: expected true or false for each of {', '.join(_META)}, got {meta}"
        )
    folder = Path(path) / "lidarseg" / split
    found = {file.name.removesuffix("_lidarseg.bin"): file for file in folder.glob("*")}
    _require_same(folder, set(scans), set(found), lambda token: f"{token}_lidarseg.bin")
    for token, file in found.items():
        raw = np.fromfile(file, np.uint8)
        if len(raw) != scans[token]:
            raise SubmissionError(
                f"{file}: expected {scans[token]} labels of 1 byte, got {len(raw)}"
            )
        _require_ids(str(file), raw, np.arange(1, 17))


def _require_map(class_map, name):
    if class_map.name != name:
        raise SubmissionError(
            f"the network knows the classes of {class_map.name}; this benchmark wants those of "
            f"{name}: train with class_map: {name}"
        )


def _require_same(path, expected, found, name_of):
    for what, names in (("misses", expected - found), ("has, but should not,", found - expected)):
        if names:
            shown = ", ".join(name_of(each) for each in sorted(names)[:_MAX_NAMED])
            raise SubmissionError(
                f"{path}: {what} {len(names)} of {len(expected)} files: "
                f"{shown}{', ...' if len(names) > _MAX_NAMED else ''}"
            )


def _require_ids(where, raw, allowed):
    wrong = np.setdiff1d(raw, allowed)
    if len(wrong):
        raise SubmissionError(
            f"{where}: ids {wrong[:8].tolist()} are no classes; every point must have one of "
            f"{allowed.tolist()}"
        )
