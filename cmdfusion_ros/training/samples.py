"""Which scans a step sees, and how they are changed: all of it drawn from (seed, number of the
item), so that any step can be drawn again.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.config import settings_from_dict
from cmdfusion_ros.data.augment.mix import select
from cmdfusion_ros.data.augment.random_changes import change_scene, change_view, sector_start
from cmdfusion_ros.data.augment.scan_context import ViewSettings
from cmdfusion_ros.data.readers.data_settings import Mixture
from cmdfusion_ros.data.readers.scan_set import ScanSet
from cmdfusion_ros.frame import IGNORE_LABEL, Frame
from cmdfusion_ros.intensity import intensity_rank
from cmdfusion_ros.training.recipe import Recipe

TEACHER_MARGIN = np.radians(7.5)  # on either side of the student's sector


@dataclass(frozen=True, eq=False)
class Sample:
    """One scan as a step sees it.

    Attributes:
        frame: what the student is shown.
        teacher_frames: for each of the recipe's teachers what it is shown, None where that is
            `frame`.
    """

    frame: Frame
    teacher_frames: tuple


class Samples:
    """The augmented scans of each step. Every scan comes once an epoch, in an order drawn anew.

    What adds points is drawn once, before the views are made. A teacher matched by voxels then
    shares the student's turn, flip and shift; one matched by points has its own (U2MKD: the
    teacher may be changed more, as pairs are found by row). It looks at the student's sector and
    TEACHER_MARGIN beyond, and keeps every point: what it does not see it cannot teach.

    Args:
        scans: a Mixture. recipe, class_map: of the training.
        workers: threads that read ahead; 0 reads when asked.
    """

    def __init__(self, scans: Mixture, recipe: Recipe, class_map: ClassMap, workers: int = 0):
        self.scans, self.recipe, self.class_map = scans, recipe, class_map
        self._pool = ThreadPoolExecutor(workers) if workers else None
        # (numbers of a part, futures), in the order in which they will be asked for
        self._ahead = deque()
        self._workers = workers

    def of(self, items: Sequence[int], later: Sequence[Sequence[int]] = ()) -> list[Sample]:
        """The Samples of the items with these numbers.

        Args:
            later: tuples of the numbers that will be asked for next, which are read ahead where
                there are workers.
        """
        if self._pool is None:
            return [self.draw(item) for item in items]
        for numbers in (items, *later):
            if all(numbers != known for known, _ in self._ahead):
                self._ahead.append(
                    (numbers, [self._pool.submit(self.draw, item) for item in numbers])
                )
        while self._ahead[0][0] != items:
            self._ahead.popleft()
        return [future.result() for future in self._ahead.popleft()[1]]

    def draw(self, item: int) -> Sample:
        """The Sample with this number; any may be asked for at any time."""
        recipe = self.recipe
        epoch, place = divmod(item, len(self.scans))
        order = np.random.default_rng([recipe.seed, 0, epoch]).permutation(len(self.scans))
        index = int(order[place])
        rng = np.random.default_rng([recipe.seed, 1, item])
        other_rng = np.random.default_rng([recipe.seed, 2, item])
        scans = self.scans.of_epoch(epoch)
        scene = change_scene(
            _ranked(scans[index]),
            recipe.augment,
            rng,
            self.class_map,
            lambda: _ranked(scans[int(other_rng.integers(len(scans)))]),
        )
        if recipe.distill:
            scene = replace(scene, origin=np.arange(scene.num_points, dtype=np.int32))
        shared = next((each for each in recipe.distill if each.match == "voxel"), None)
        sector = self._sector(scene, item)
        seen = change_view(
            self._shown(scene, index, shared.view if shared else recipe.view),
            recipe.augment,
            rng,
            sector,
        )
        frame = select(seen, seen.origin >= 0) if shared else seen
        teacher_frames = []
        for number, distill in enumerate(recipe.distill):
            if distill.match == "pixel":
                teacher_frames.append(None)
            elif distill is shared:
                teacher_frames.append(seen)
            else:
                own_rng = np.random.default_rng([recipe.seed, 3 + number, item])
                teacher_frames.append(
                    change_view(
                        self._shown(scene, index, distill.view),
                        replace(recipe.augment, point_dropout=0.0, thin_chance=0.0, sector=360.0),
                        own_rng,
                        _wider(sector),
                    )
                )
        return Sample(frame, tuple(teacher_frames))

    def _sector(self, scene, item):
        """(start, width) of the sector that student and teachers matched by points share; None
        where they see everything, or there is no such teacher and the student draws for itself.
        """
        width = self.recipe.augment.sector
        if width >= 360.0 or all(each.match != "point" for each in self.recipe.distill):
            return None
        rng = np.random.default_rng([self.recipe.seed, 103, item])
        return sector_start(scene, self.recipe.augment, rng), np.radians(width)

    def plain(self, index: int) -> Sample:
        """Scan `index` unchanged, as a Sample."""
        scene = self.scans[index]
        scene = replace(scene, origin=np.arange(scene.num_points, dtype=np.int32))
        teacher_frames = tuple(
            None if each.match == "pixel" else self._shown(scene, index, each.view)
            for each in self.recipe.distill
        )
        return Sample(self._shown(scene, index, self.recipe.view), teacher_frames)

    def _shown(self, frame, index, view):
        return view.apply(frame, self.scans.neighbours(index, view.offsets), self.class_map)


def _ranked(frame):
    """`frame` with the ranks of its intensities, which in a part of it would be others."""
    return replace(frame, intensity_rank=intensity_rank(frame.intensity))


def _wider(sector):
    """The sector that a teacher sees of that of its student; None = everything."""
    if sector is None or sector[1] + 2 * TEACHER_MARGIN >= 2 * np.pi:
        return None
    return sector[0] - TEACHER_MARGIN, sector[1] + 2 * TEACHER_MARGIN


def view_of(card: Mapping[str, Any]) -> ViewSettings:
    """What a network was trained to be shown of a scan, from its checkpoint's card."""
    return settings_from_dict(ViewSettings, card.get("recipe", {}).get("view", {}))


def shown(scans: ScanSet | Mixture, view: ViewSettings, class_map: ClassMap) -> Iterator[Frame]:
    """Every Frame of some scans as a network with this ViewSettings is shown it. Only the scan's
    own points keep their labels, so that networks of any view are scored on the same points.
    """
    for index in range(len(scans)):
        scan = scans[index]
        frame = view.apply(scan, scans.neighbours(index, view.offsets), class_map)
        if frame.labels is not None and frame.num_points > scan.num_points:
            labels = frame.labels.copy()
            labels[scan.num_points :] = IGNORE_LABEL
            frame = replace(frame, labels=labels)
        yield frame
