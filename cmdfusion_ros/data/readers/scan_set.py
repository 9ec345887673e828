"""What every reader of a data set is: scans by number, and their names."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import Any

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.frame import Frame


class ScanSet(ABC):
    """Labelled scans as a sequence of Frames. A reader sets `_items`, one entry a scan, and
    `_called`; it writes `__getitem__`, `_name` and `neighbours`.
    """

    _items: list[Any]
    _called: str
    _name: Callable[..., str]
    neighbours: Callable[..., tuple[Frame, ...]]

    def __len__(self) -> int:
        return len(self._items)

    @abstractmethod
    def __getitem__(self, index: int) -> Frame:
        """The scan in this place of the order."""

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    def name(self, index: int) -> str:
        """The name of a scan, "<called>/<sequence>/<scan>": the same wherever the folder lies,
        so that a checkpoint can say what it was trained on.
        """
        return f"{self._called}/{self._name(*self._items[index])}"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all scans, in order."""
        return tuple(self.name(index) for index in range(len(self)))


class StoredScans(ScanSet):
    """A ScanSet that lies in files, in order of sequence and number. A reader says what is kept in
    its layout (`own_dataset`) and writes `_find`, which gives (number, item) of every scan of some
    sequences and looks at listings alone.

    Args:
        root: folder of the set; the reader says of what.
        sequences: names of its sequences, in the order wanted.
        class_map: ClassMap that folds the raw ids of `dataset`.
        dataset: whose raw ids the labels are: "semantic_kitti", "pandaset", ...; None for the one
            whose layout this is.
        scans: numbers of the scans to take where they exist, anything with `in` (a range, a set);
            None = all.
        labels: read labels and instance ids; a missing label file is then an error.
        poses: give `world_from_lidar`.
        images: read the cameras too.
        called: what the set is called in the names of its scans; None for `dataset`. Made-up
            streets have SemanticKITTI's ids and are no part of it.

    Raises:
        FileNotFoundError, ValueError: naming the file, what was expected of it and what to do.
    """

    own_dataset: str
    _nothing = "sequences {} hold no scan with a number"  # what to say where there is no scan
    _find: Callable[..., Iterator[tuple[int, tuple[Any, ...]]]]

    def __init__(
        self,
        root: str | Path,
        sequences: Sequence[str],
        class_map: ClassMap,
        dataset: str | None = None,
        scans: Container[int] | None = None,
        labels: bool = True,
        poses: bool = True,
        images: bool = False,
        called: str | None = None,
    ):
        self.root, self.class_map = Path(root), class_map
        self.dataset = dataset or self.own_dataset
        self._called = called or self.dataset
        self._read_labels, self._read_poses, self._read_images = labels, poses, images
        found = [
            (number, item)
            for number, item in self._find(sequences)
            if scans is None or number in scans
        ]
        if not found:
            raise ValueError(f"{root}: {self._nothing.format(list(sequences))} in {scans}")
        self._numbers, self._items = map(list, zip(*found, strict=True))
        self._rows = {(item[0], number): row for row, (number, item) in enumerate(found)}


class NumberedScans(StoredScans):
    """StoredScans whose neighbours are those of the set with the next numbers. A reader writes
    `_read(index, images)`, and its items begin with their sequence.
    """

    _read: Callable[..., Frame]

    def __getitem__(self, index: int) -> Frame:
        return self._read(index, self._read_images)

    def neighbours(self, index: int, offsets: Sequence[int]) -> tuple[Frame, ...]:
        """The scans whose numbers differ by `offsets` from that of scan `index`, as Frames
        without images; those that this set does not hold are left out.
        """
        sequence, number = self._items[index][0], self._numbers[index]
        rows = (self._rows.get((sequence, number + offset)) for offset in offsets)
        return tuple(self._read(row, images=False) for row in rows if row is not None)
