"""How much of its score a network keeps in bad weather and with broken sensors.

Every corruption of the published suites at every level (`data/corruptions/`), and every subset of
the cameras. CE and RR are those of Robo3D (Kong et al., ICCV 2023, section 3.2), on mean IoU:
CE_i = sum_levels(1 - mIoU) / sum_levels(1 - mIoU of a baseline), RR_i = mean_levels(mIoU) / clean
mIoU; mCE and mRR are their means over a suite. RR is what MultiCorrupt calls resistance ability.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.data.corruptions.cameras import live_cameras
from cmdfusion_ros.data.corruptions.suites import SUITES, corrupt, find_corruption
from cmdfusion_ros.evaluation.metrics import ConfusionMatrix
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.inference import Segmenter

Pair = tuple[Frame, Frame | None]  # a scan, and the one before it in its sequence


def names_of(suites: Sequence[str], with_images: bool) -> list[str]:
    """Names of the corruptions of some suites; without images only those that change clouds.

    Raises:
        ValueError: an unknown suite.
    """
    for suite in suites:
        if suite not in SUITES:
            raise ValueError(f"suite: expected some of {', '.join(SUITES)}, got {suite!r}")
    return [
        f"{suite}/{name}"
        for suite in suites
        for name, corruption in SUITES[suite].items()
        if with_images or not corruption.of_images
    ]


def with_before(scans: Any, rows: Iterable[int], names: Sequence[str]) -> Iterable[Pair]:
    """The scans at some rows of a ScanSet, each with the one before it in its sequence where a
    corruption of these names asks for that; None where the sequence begins."""
    wanted = any(find_corruption(name).needs_before for name in names)
    for row in rows:
        before = None
        if wanted and row > 0 and _sequence(scans, row) == _sequence(scans, row - 1):
            before = scans[row - 1]
        yield scans[row], before


def _sequence(scans: Any, row: int) -> str:
    return scans.name(row).rpartition("/")[0]


def measure(
    segmenter: Segmenter,
    baseline: Segmenter | None,
    pairs: Iterable[Pair],
    names: Sequence[str],
    seed: int = 0,
    max_subsets: int = 64,
    is_nuscenes: bool = False,
) -> dict[str, Any]:
    """Score a Segmenter, and a baseline beside it, on clean and corrupted scans.

    Args:
        pairs: labelled Frames with the ones before them.
        names: of the corruptions.
        max_subsets: of the cameras for each number of live ones; more are drawn from, for all
            scans alike.
        is_nuscenes: see `corrupt`.

    Returns:
        clean, baseline_clean: mean IoU; corruptions: {name: {levels: {level: {numbers, miou,
        baseline}}, ce, rr}}; suites: {suite: {mce, mrr}}; by_live_cameras: {number: {miou (mean
        over the subsets), lowest, without (the cameras whose loss hurts most), subsets}}. Mean IoU
        is over the classes that occur in the scans, so that one stray point of another class does
        not count as a class; CE and what else needs it is None without a baseline.

    Raises:
        ValueError: baseline and network have other classes; no scans.
    """
    class_map = segmenter.class_map
    if baseline is not None and baseline.class_map.names != class_map.names:
        ours, theirs = class_map.name, baseline.class_map.name
        raise ValueError(f"baseline: has the classes of {theirs}, the network those of {ours}")
    networks = [segmenter] if baseline is None else [segmenter, baseline]
    clean = [ConfusionMatrix(class_map.num_classes) for _ in networks]
    hurt: dict[tuple[str, str], list[ConfusionMatrix]] = {}
    cameras = _Cameras(class_map, max_subsets, seed)
    for frame, before in pairs:
        _count(networks, clean, frame)
        for name in names:
            for level in find_corruption(name).levels:
                bad = corrupt(frame, name, level, class_map, seed, before, is_nuscenes)
                fresh = [ConfusionMatrix(class_map.num_classes) for _ in networks]
                _count(networks, hurt.setdefault((name, level), fresh), bad)
        if segmenter.uses_images:
            cameras.add(segmenter, frame)
    if not clean[0].counts.any():
        raise ValueError("robustness: expected labelled scans, got none")
    corruptions = {name: _judged(name, clean, hurt, is_nuscenes) for name in names}
    return {
        "clean": _plain(clean[0].miou_of_present),
        "baseline_clean": _plain(clean[1].miou_of_present) if baseline is not None else None,
        "corruptions": corruptions,
        "suites": _suites(corruptions),
        "by_live_cameras": cameras.to_dict(),
    }


def _count(networks: list[Segmenter], matrices: list[ConfusionMatrix], frame: Frame) -> None:
    for network, matrix in zip(networks, matrices, strict=True):
        matrix.add(frame.labels, network.segment(frame).labels)


def _judged(
    name: str,
    clean: list[ConfusionMatrix],
    hurt: dict[tuple[str, str], list[ConfusionMatrix]],
    is_nuscenes: bool,
) -> dict[str, Any]:
    corruption = find_corruption(name)
    levels, ours, theirs = {}, [], []
    for level in corruption.levels:
        mious = [matrix.miou_of_present for matrix in hurt[name, level]]
        ours.append(mious[0])
        theirs += mious[1:]
        levels[level] = {
            "numbers": list(corruption.numbers(level, is_nuscenes)),
            "miou": _plain(mious[0]),
            "baseline": _plain(mious[1]) if len(mious) > 1 else None,
        }
    kept = resilience(ours, clean[0].miou_of_present)
    return {"levels": levels, "ce": corruption_error(ours, theirs), "rr": kept}


def corruption_error(mious: Sequence[float], of_baseline: Sequence[float]) -> float | None:
    """Robo3D's CE of one corruption from the mIoU of its levels; None without a baseline, or where
    that makes no error at all."""
    below = sum(1 - miou for miou in of_baseline)
    return _plain(sum(1 - miou for miou in mious) / below) if below > 0 else None


def resilience(mious: Sequence[float], clean: float) -> float | None:
    """Robo3D's RR of one corruption; None of a network that scores 0 on clean scans."""
    return _plain(float(np.mean(mious)) / clean) if clean > 0 else None


def _suites(corruptions: dict[str, dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    suites: dict[str, dict[str, float | None]] = {}
    for suite in dict.fromkeys(name.partition("/")[0] for name in corruptions):
        own = [entry for name, entry in corruptions.items() if name.startswith(f"{suite}/")]
        suites[suite] = {"mce": _mean_of(own, "ce"), "mrr": _mean_of(own, "rr")}
    return suites


def _mean_of(entries: list[dict[str, Any]], key: str) -> float | None:
    values = [entry[key] for entry in entries]
    return None if None in values else _plain(float(np.mean(values)))


class _Cameras:
    """The mean IoU of each subset of live cameras, by their names."""

    def __init__(self, class_map: ClassMap, most: int, seed: int) -> None:
        self._classes, self._most, self._seed = class_map.num_classes, most, seed
        self._matrices: dict[tuple[str, ...], ConfusionMatrix] = {}
        self._names: tuple[str, ...] = ()

    def add(self, segmenter: Segmenter, frame: Frame) -> None:
        names = tuple(view.name for view in frame.views)
        if self._names and names != self._names:
            raise ValueError(f"frame {frame.name}: has cameras {names}, others {self._names}")
        self._names = names
        for rows in self._subsets(len(names)):
            live = tuple(names[row] for row in rows)
            matrix = self._matrices.setdefault(live, ConfusionMatrix(self._classes))
            matrix.add(frame.labels, segmenter.segment(live_cameras(frame, rows)).labels)

    def _subsets(self, number: int) -> list[tuple[int, ...]]:
        chosen = []
        for size in range(number + 1):
            every = list(combinations(range(number), size))
            rng = np.random.default_rng([self._seed, size])
            rows = rng.choice(len(every), min(self._most, len(every)), replace=False)
            chosen += [every[row] for row in np.sort(rows)]
        return chosen

    def to_dict(self) -> dict[str, dict[str, Any]]:
        result = {}
        for size in sorted({len(live) for live in self._matrices}):
            found = [
                (matrix.miou_of_present, live)
                for live, matrix in self._matrices.items()
                if len(live) == size
            ]
            lowest, live = min(found)
            result[str(size)] = {
                "miou": _plain(float(np.mean([miou for miou, _ in found]))),
                "lowest": _plain(lowest),
                "without": [name for name in self._names if name not in live],
                "subsets": len(found),
            }
        return result


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)
