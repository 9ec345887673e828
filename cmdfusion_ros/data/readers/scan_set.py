"""What every reader of a data set is: scans by number, and their names."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cmdfusion_ros.frame import Frame


class ScanSet:
    """Labelled scans as a sequence of Frames. A reader sets `_items`, one entry a scan, and
    `_called`; it writes `__getitem__`, `_name` and `neighbours`.
    """

    _items: list[Any]
    _called: str
    _name: Callable[..., str]
    neighbours: Callable[..., tuple[Frame, ...]]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Frame:
        raise NotImplementedError

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


class NumberedScans(ScanSet):
    """A ScanSet whose scans have numbers within sequences. The reader calls `_find_items`, and
    writes `_number(*item)` and
    `_read(index, images)`."""

    _read_images: bool
    _number: Callable[..., int]
    _read: Callable[..., Frame]

    def __getitem__(self, index: int) -> Frame:
        return self._read(index, self._read_images)

    def neighbours(self, index: int, offsets: Sequence[int]) -> tuple[Frame, ...]:
        """The scans whose numbers differ by `offsets` from that of scan `index`, as Frames
        without images; those that this set does not hold are left out.
        """
        item = self._items[index]
        rows = (self._rows.get((item[0], self._number(*item) + offset)) for offset in offsets)
        return tuple(self._read(row, images=False) for row in rows if row is not None)

    def _find_items(self, items, nothing, scans):
        """Keep (sequence, ...) items as `_items`; ValueError where there is none, which begins
        with `nothing` and names the `scans` asked for.
        """
        self._items = list(items)
        if not self._items:
            raise ValueError(f"{nothing} in {scans}")
        self._rows = {(item[0], self._number(*item)): row for row, item in enumerate(self._items)}
