"""Whether a JPEG file is whole: the compiled check of `jpeg_check.cpp`, where installing found a
C++ compiler.
"""

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np


def jpeg_damage(data: np.ndarray) -> str:
    """Where a decoder would have to guess what was meant in a JPEG file, (bytes,) uint8; "" where
    nowhere, for kinds that are not judged (progressive ones), and without the compiled check.

    Other threads run meanwhile.
    """
    check = _check()
    if check is None:
        return ""
    flat = np.ascontiguousarray(data)
    place = check(flat.ctypes.data, len(flat))
    return f"damaged at byte {place - 1} of {len(flat)}" if place else ""


@functools.cache
def _check() -> Callable | None:
    for path in sorted(Path(__file__).parent.glob("_jpeg*.so")):
        try:
            function = ctypes.CDLL(str(path)).cmdfusion_jpeg_damage
        except (OSError, AttributeError):  # built for another machine, or by another version
            continue
        function.argtypes, function.restype = (ctypes.c_void_p, ctypes.c_int64), ctypes.c_int64
        return function
    return None
