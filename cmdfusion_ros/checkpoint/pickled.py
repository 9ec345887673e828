"""Reads the tensors of a file written by torch.save without running anything in it.

Such a file is a pickle, and a pickle may call any function of any module. Here it reaches none:
names other than those of tensors and ordered dicts become empty stand-ins, so classes that are not
installed (settings objects, trainer callbacks) do no harm either.
"""

import collections
import io
import math
import pickle
import pickletools
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch

_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


_MOST_PICKLE = 64 << 20  # bytes of a data.pkl; one of 10,000 tensors has 2 MB
_MOST_DIMENSIONS = 10


class PickleError(ValueError):
    """A file that is not what torch.save writes, or is broken."""


class _Storage(NamedTuple):
    """The numbers behind a tensor. Made by us alone: a pickle can neither call nor change it."""

    path: Path
    member: str
    dtype: torch.dtype


class PickledTensor(NamedTuple):
    """A tensor that is still in its file; `path` is None where the pickle names something else than
    a part of that file. A tuple, because a pickle cannot change one.
    """

    path: Path | None
    member: str
    dtype: torch.dtype | None
    offset: int
    shape: tuple
    stride: tuple

    def load(self) -> torch.Tensor:
        """Read it. Raises PickleError where the file holds less than it says."""
        if self.path is None:
            raise PickleError(
                f"a tensor of shape {self.shape} names numbers outside of its file; is the file "
                "from somebody you trust?"
            )
        try:
            with zipfile.ZipFile(self.path) as archive:
                packed = archive.getinfo(self.member)
                if packed.compress_type != zipfile.ZIP_STORED:
                    raise ValueError("packed numbers, which torch.save does not write")
                data = bytearray(archive.read(packed))
            storage = (
                torch.frombuffer(data, dtype=self.dtype)
                if data
                else torch.empty(0, dtype=self.dtype)
            )
            if math.prod(self.shape) > len(storage):
                raise ValueError(f"{len(storage)} numbers in the file")
            return storage.as_strided(self.shape, self.stride, self.offset).clone(
                memory_format=torch.contiguous_format
            )
        except (
            KeyError,
            RuntimeError,
            ValueError,
            TypeError,
            OverflowError,
            NotImplementedError,
            EOFError,
            zlib.error,
            zipfile.BadZipFile,
        ) as error:
            raise PickleError(
                f"{self.path}: a tensor of shape {self.shape} cannot be read ({error}); is the "
                "file complete?"
            ) from error


def read_pickled(path: str | Path) -> tuple[Any, list[str]]:
    """Read a file of torch.save (torch 1.6 or newer).

    Returns:
        its content, with a PickledTensor for each tensor, and the sorted names of what was replaced
        by stand-ins.

    Raises:
        FileNotFoundError: there is no such file. PickleError: it is no such file, or broken.
    """
    path = Path(path)
    if not path.is_file():  # a pipe is none, and would be waited for
        raise FileNotFoundError(f"{path}: no such file")
    try:
        if not zipfile.is_zipfile(path):
            raise PickleError(
                f"{path}: not a zip file, as torch.save writes them since torch 1.6; is the "
                "download complete?"
            )
        with zipfile.ZipFile(path) as archive:
            return _read_archive(archive, path)
    except PickleError:
        raise
    except Exception as error:  # a broken or hostile archive or pickle raises anything
        raise PickleError(
            f"{path}: its pickle cannot be read ({type(error).__name__}: {error})"
        ) from error


def _read_archive(archive: zipfile.ZipFile, path: Path) -> tuple[Any, list[str]]:
    members = [
        name for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1
    ]
    if len(members) != 1:
        raise PickleError(
            f"{path}: a zip file, but not one of torch.save: expected one data.pkl, got "
            f"{len(members)}"
        )
    if archive.getinfo(members[0]).file_size > _MOST_PICKLE:
        raise PickleError(f"{path}: expected a data.pkl of at most {_MOST_PICKLE} bytes")
    with archive.open(members[0]) as stream:
        content = stream.read(_MOST_PICKLE)
    _check_memo(pickletools.genops(content))
    unpickler = _TensorUnpickler(io.BytesIO(content), path, members[0].removesuffix("/data.pkl"))
    return unpickler.load(), sorted(unpickler.replaced)


def _check_memo(operations: Iterable[tuple[Any, Any, Any]]) -> None:
    """PickleError for a pickle that numbers what it remembers higher than it counts: Python makes
    a list as long as the number, gigabytes for five bytes.
    """
    for count, (operation, number, _) in enumerate(operations):
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and number > count:
            raise PickleError(f"it remembers its operation {count} as number {number}")


class _TensorUnpickler(pickle.Unpickler):
    """Finds nothing but what tensors are made of."""

    def __init__(self, stream: Any, path: Path, folder: str):
        super().__init__(stream)
        self._path, self._folder = path, folder
        self.replaced: set[str] = set()

    def persistent_load(self, identity: Any) -> tuple[Any, str, Any]:
        kind, dtype, key, *_ = identity
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"unknown reference {identity!r}")
        return _Storage(self._path, f"{self._folder}/data/{key}", dtype)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch._utils" and name in _MAKERS:
            return _MAKERS[name]
        if module in ("torch", "torch.storage") and name in _DTYPES:
            return _DTYPES[name]
        self.replaced.add(f"{module}.{name}")
        return type(name.rpartition(".")[2], (_StandIn,), {})


class _MakeTensor:
    """torch._utils._rebuild_tensor_v2. An object without attributes, so that a pickle cannot
    change what it does.
    """

    __slots__ = ()

    def __call__(
        self, storage: Any, offset: int, shape: Any, stride: Any, *_: Any
    ) -> PickledTensor:
        if type(storage) is not _Storage:  # made up by the pickle: it could name any file
            storage = (None, "", None)
        sizes = (offset, *shape, *stride)
        if len(sizes) > 2 * _MOST_DIMENSIONS or not all(
            type(size) is int and 0 <= size < 1 << 40 for size in sizes
        ):
            raise pickle.UnpicklingError(f"a tensor of shape {shape!r:.80}")
        path, member, dtype = storage
        return PickledTensor(path, member, dtype, offset, tuple(shape), tuple(stride))


class _MakeParameter:
    """torch._utils._rebuild_parameter: the tensor itself."""

    __slots__ = ()

    def __call__(self, tensor: Any, *_: Any) -> Any:
        return tensor


_MAKERS = {"_rebuild_tensor_v2": _MakeTensor(), "_rebuild_parameter": _MakeParameter()}


class _StandIn(dict):
    """In the place of any other class or function: takes everything a pickle may do to it and
    keeps only the items of a dict.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return dict.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """A pickled list's item; forgotten."""

    def extend(self, items: Any) -> None:
        """A pickled list's items; forgotten."""

    def add(self, item: Any) -> None:
        """A pickled set's item; forgotten."""

    __hash__ = object.__hash__  # type: ignore[assignment]  # a dict's keys may be stand-ins
