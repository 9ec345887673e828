"""Takes a pickle apart without running anything in it: calls become records of what was to be
called with what.

A pickle may call any function of any module. Unpickling with a list of allowed functions is not
enough: numpy's own constructors take a buffer as the pointers of objects. Here no function is
reached at all; who reads the records decides what they mean.
"""

import io
import pickle
import pickletools
from dataclasses import dataclass, field

_MOST_OPERATIONS = 1_000_000  # a table has some hundreds
# what a table needs; the rest reaches extension registries or files beside the pickle
_REFUSED = {"INST", "OBJ", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER"}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}


@dataclass(eq=False)
class Record:
    """A call that a pickle asked for.

    Attributes:
        name: "module.function". arguments: as given. state: what was to be set on the result.
    """

    name: str
    arguments: tuple = ()
    state: object = None
    items: list = field(default_factory=list)

    def __setstate__(self, state):
        self.state = state

    def append(self, item: object) -> None:
        """An item that the pickle adds to what it took for a list."""
        self.items.append(item)


def take_apart(content: bytes) -> object:
    """The content of a pickle: plain values, with a Record for every call. Memory and time are
    bounded by the length of `content`.

    Raises:
        ValueError: it is no pickle, cut off, or asks for what no table needs.
    """
    try:
        for number, (operation, value, _) in enumerate(pickletools.genops(content)):
            if operation.name in _PUTS and value > number:
                # the unpickler makes a list as long as the number: gigabytes for five bytes
                raise ValueError(f"operation {number} is remembered as number {value}")
            if operation.name in _REFUSED or number > _MOST_OPERATIONS:
                raise ValueError(f"operation {operation.name} at {number}")
        return _RecordUnpickler(io.BytesIO(content)).load()
    except Exception as error:  # a broken pickle raises anything
        raise ValueError(f"not readable as a pickle ({type(error).__name__}: {error})") from error


class _RecordUnpickler(pickle.Unpickler):
    def find_class(self, module, name):
        full_name = f"{module}.{name}"

        class Called(Record):
            def __new__(cls, *arguments):
                return Record(full_name, arguments)

        Called.full_name = full_name
        return Called
