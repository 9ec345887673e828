"""Reads a pickled table of pandas without running anything in it: `inert_pickle.py` says what the
pickle asks for, and here that is made into arrays of numbers, with every size checked.
"""

import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np

from cmdfusion_ros.data.readers.inert_pickle import Record, take_apart

_MOST_BYTES = 1 << 30  # of an unpacked table; a scan of PandaSet has 9 MB
_NUMBER = re.compile(r"^[<>|=]?([fiu][1248]|b1|\\?)$")
# by the last part of their names, as pandas 0.25 to 3 and numpy 1 and 2 have them
_RECONSTRUCT, _FROM_BUFFER, _ENCODE = "_reconstruct", "_frombuffer", "_codecs.encode"
_INDEXES = ("Index", "Float64Index", "Int64Index", "UInt64Index")


def read_pickled_table(path: str | Path) -> Any:
    """A gzipped pickle of one pandas DataFrame of numbers -> that DataFrame.

    Raises:
        ModuleNotFoundError: pandas is not installed.
        ValueError: not such a file, or broken, or it asks for anything else.
    """
    try:
        from pandas import DataFrame  # here: an extra
    except ImportError as error:
        raise ModuleNotFoundError(
            "tables of pandas need pandas, which is not installed; pip install pandas"
        ) from error
    try:
        with gzip.open(path) as stream:
            content = stream.read(_MOST_BYTES + 1)
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(
            f"{path}: not readable ({type(error).__name__}: {error}); fetch it again"
        ) from error
    except Exception as error:  # zlib.error, which is no OSError
        raise ValueError(f"{path}: not readable ({error}); fetch it again") from error
    if len(content) > _MOST_BYTES:
        raise ValueError(f"{path}: expected at most {_MOST_BYTES} bytes unpacked")
    try:
        table = take_apart(content)
        if not isinstance(table, Record) or not table.name.endswith(".DataFrame"):
            kind = table.name if isinstance(table, Record) else type(table).__name__
            if _is_array(table):
                kind = "ndarray"
            elif isinstance(table, Record):
                _refuse(table)
            raise ValueError(f"expected a table of pandas, got {kind}")
        columns, index = _table(table.state)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: not readable: {error}; fetch it again") from error
    return DataFrame(columns, index=index)


def _refuse(record):
    raise ValueError(f"it asks for {record.name}, which is no part of a table of numbers")


def _last(name):
    return name.rpartition(".")[2]


def _table(state):
    """({column: (N,) array}, (N,) array or range of the index) of a DataFrame's state."""
    manager = state.get("_mgr", state.get("_data")) if isinstance(state, dict) else None
    if not isinstance(manager, Record) or not manager.name.endswith(".BlockManager"):
        raise ValueError("expected the blocks of a table")
    if manager.arguments:  # pandas 1.3 and newer
        blocks, axes = manager.arguments
        blocks = [_block(block) for block in blocks]
    else:  # older: (axes, values, items, {version: {axes, blocks}})
        newest = manager.state[3]["0.14.1"]
        axes = newest["axes"]
        blocks = [(_array(b["values"]), _places(b["mgr_locs"])) for b in newest["blocks"]]
    names, index = _names(axes[0]), _index(axes[1])
    columns: list = [None] * len(names)
    for values, places in blocks:
        if values.ndim != 2 or len(values) != len(places) or values.shape[1] != len(index):
            raise ValueError(
                f"a block of shape {values.shape} for {len(places)} columns of {len(index)} rows"
            )
        for place, column in zip(places, values, strict=True):
            columns[place] = column
    if len(set(names)) != len(names) or any(column is None for column in columns):
        raise ValueError(f"columns {names} without values, or two of one name")
    return dict(zip(names, columns, strict=True)), index


def _block(record):
    """(values, places of its columns) of one block."""
    if not isinstance(record, Record) or _last(record.name) not in ("_unpickle_block", "new_block"):
        _refuse(record)
    return _array(record.arguments[0]), _places(record.arguments[1])


def _places(value):
    if isinstance(value, Record) and _last(value.name) == "BlockPlacement":
        value = value.arguments[0]
    if isinstance(value, Record) and _last(value.name) == "slice":
        start, stop, step = value.arguments
        bounded = all(type(n) is int and 0 <= n < 10_000 for n in (start, stop, step))
        if not bounded or not step:
            raise ValueError(f"columns {value.arguments}")
        return range(start, stop, step)
    return [int(place) for place in _array(value)]


def _names(record):
    """Names of the columns."""
    data = _index_data(record)
    if isinstance(data, Record) and _last(data.name) == "ArrowStringArray":
        return _arrow_texts(data.state["_pa_array"])
    if isinstance(data, Record) and _last(data.name) in ("__pyx_unpickle_NDArrayBacked",):
        state = data.arguments[2] if data.arguments[2] is not None else data.state
        data = next(item for item in state if _is_array(item))
    texts = data.state[4] if _is_array(data) and isinstance(data.state, tuple) else data
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError("expected columns named by texts")
    return texts


def _index(record):
    """The row labels: a range or an (N,) array."""
    if isinstance(record, Record) and _last(record.name) == "_new_Index":
        kind, values = record.arguments
        if kind.full_name.endswith(".RangeIndex"):
            bounds = tuple(values[name] for name in ("start", "stop", "step"))
            if not all(type(bound) is int for bound in bounds):
                raise ValueError(f"rows {bounds}")
            return range(*bounds)
    return _array(_index_data(record))


def _index_data(record):
    if not isinstance(record, Record) or _last(record.name) != "_new_Index":
        _refuse(record)
    kind, values = record.arguments
    if _last(kind.full_name) not in _INDEXES:
        raise ValueError(f"it asks for {kind.full_name}, which is no part of a table of numbers")
    return values["data"]


def _is_array(record):
    return isinstance(record, Record) and _last(record.name) in (_RECONSTRUCT, _FROM_BUFFER)


def _array(record):
    """The numpy array of numbers that a record asks for; what it holds is copied."""
    if not _is_array(record):
        if isinstance(record, Record):
            _refuse(record)
        raise ValueError(f"expected an array of numbers, got {type(record).__name__}")
    if _last(record.name) == _FROM_BUFFER:
        data, dtype, shape, order = record.arguments
        in_columns = order == "F"
    else:
        _, shape, dtype, in_columns, data = record.state
    dtype, data = _dtype(dtype), _bytes(data)
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"an array of shape {shape}")
    needed = dtype.itemsize
    for length in shape:
        needed *= length
    if needed != len(data) or len(shape) > 2:
        raise ValueError(f"an array of shape {shape} and type {dtype} from {len(data)} bytes")
    flat = np.frombuffer(data, dtype) if len(data) else np.zeros(0, dtype)
    return flat.reshape(shape, order="F" if in_columns else "C").copy()


def _dtype(record):
    """A numpy type of numbers. The type of objects never: its bytes would be pointers."""
    if not isinstance(record, Record) or record.name != "numpy.dtype":
        raise ValueError("expected a type of numpy")
    code = record.arguments[0]
    if not isinstance(code, str) or not _NUMBER.match(code):
        raise ValueError(f"numbers of type {code!r}, which is no part of a table of numbers")
    order = record.state[1] if isinstance(record.state, tuple) and len(record.state) > 1 else "="
    dtype = np.dtype(code)
    return dtype.newbyteorder(order) if order in ("<", ">") else dtype


def _bytes(data):
    if isinstance(data, Record) and data.name == _ENCODE:  # protocols 0 to 2 have no bytes
        text, encoding = data.arguments
        if encoding != "latin1" or not isinstance(text, str):
            raise ValueError(f"bytes written as {encoding!r}")
        return text.encode("latin1")
    if isinstance(data, Record) and data.name.endswith((".bytearray", ".bytes")):
        return _bytes(data.arguments[0]) if data.arguments else b""
    if not isinstance(data, (bytes, bytearray)):
        raise ValueError(f"expected bytes, got {type(data).__name__}")
    return bytes(data)


def _arrow_texts(record):
    """Texts of a pyarrow array of large strings: (validity, offsets int64, letters)."""
    (parts,) = record.arguments
    kind, length, offset, _, buffers = parts[:5]
    large = kind.arguments == ("large_string",)
    if not large and kind.arguments != ("string",):
        raise ValueError(f"texts of type {kind.arguments}")
    offsets = np.frombuffer(_bytes(buffers[1].arguments[0]), "<i8" if large else "<i4")
    letters = _bytes(buffers[2].arguments[0]) if buffers[2] is not None else b""
    if offset or length + 1 > len(offsets) or not 0 <= length < 10_000:
        raise ValueError("texts that are cut off")
    ends = offsets[: length + 1].tolist()
    return [letters[a:b].decode() for a, b in zip(ends[:-1], ends[1:], strict=True)]
