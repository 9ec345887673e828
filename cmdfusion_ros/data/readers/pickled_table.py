"""Reads a pickled table of pandas without running anything in it.

A pickle may call any function of any module. Here it reaches only those that tables of numbers are
made of; a file that asks for another is refused.
"""

import gzip
import pickle
from pathlib import Path
from typing import Any

_PARTS = {
    "builtins": ("slice",),
    "__builtin__": ("slice",),
    "_codecs": ("encode",),  # numpy's bytes in old protocols
    "numpy": ("dtype", "ndarray"),
    "numpy.core.multiarray": ("_reconstruct", "scalar"),
    "numpy.core.numeric": ("_frombuffer",),
    "numpy._core.multiarray": ("_reconstruct", "scalar"),
    "numpy._core.numeric": ("_frombuffer",),
    "pandas": ("DataFrame", "Index", "RangeIndex", "StringDtype"),
    "pandas.arrays": ("StringArray",),
    "pandas._libs.arrays": ("__pyx_unpickle_NDArrayBacked",),
    "pandas._libs.internals": ("_unpickle_block",),
    "pandas.core.frame": ("DataFrame",),
    "pandas.core.indexes.base": ("Index", "_new_Index"),
    "pandas.core.indexes.numeric": ("Float64Index", "Int64Index", "UInt64Index"),
    "pandas.core.indexes.range": ("RangeIndex",),
    "pandas.core.internals.blocks": ("new_block",),
    "pandas.core.internals.managers": ("BlockManager",),
}  # by module, as pandas 1 to 3 name them


def read_pickled_table(path: str | Path) -> Any:
    """A gzipped pickle of one pandas DataFrame of numbers -> that DataFrame.

    Raises:
        ModuleNotFoundError: pandas is not installed.
        ValueError: not such a file, or broken, or it asks for anything else.
    """
    try:
        from pandas import DataFrame  # here: an extra
        from pandas.compat.pickle_compat import (
            Unpickler,  # knows where older versions of pandas kept their parts
        )
    except ImportError as error:
        raise ModuleNotFoundError(
            "tables of pandas need pandas, which is not installed; pip install pandas"
        ) from error

    class TableUnpickler(Unpickler):
        def find_class(self, module, name):
            if name not in _PARTS.get(module, ()):
                raise pickle.UnpicklingError(
                    f"it asks for {module}.{name}, which is no part of a table of numbers"
                )
            return super().find_class(module, name)

    try:
        with gzip.open(path) as stream:
            table = TableUnpickler(stream).load()
    except Exception as error:  # a broken pickle raises anything
        raise ValueError(
            f"{path}: not readable ({type(error).__name__}: {error}); fetch it again"
        ) from error
    if not isinstance(table, DataFrame):
        raise ValueError(
            f"{path}: expected a table of pandas, got {type(table).__name__}; fetch it again"
        )
    return table
