"""Randomness that is a function of place: the same leaf, paving stone or window whoever looks at
it, from wherever, in whatever order.
"""

import numpy as np

_X, _Y, _Z = np.uint32(0x8DA6B343), np.uint32(0xD8163841), np.uint32(0xCB1AB31F)
_MIX, _SHIFT_A, _SHIFT_B = np.uint32(0x85EBCA6B), np.uint32(13), np.uint32(16)
_TO_UNIT = np.float32(1 / 2**32)


def hash_cells(
    x: np.ndarray, y: np.ndarray, z: np.ndarray | None = None, salt: int = 0
) -> np.ndarray:
    """Uniform numbers in [0, 1), one for each integer cell.

    Args:
        x, y, z: float or int arrays of one shape; floored. |value| below 2^31.
        salt: int; other salts give other numbers.

    Returns:
        float32, shape of `x`.
    """
    mixed = _whole(x) * _X
    mixed ^= _whole(y) * _Y
    if z is not None:
        mixed ^= _whole(z) * _Z
    mixed += np.uint32((salt * 0x9E3779B1) % 2**32)
    mixed ^= mixed >> _SHIFT_A
    mixed *= _MIX
    mixed ^= mixed >> _SHIFT_B
    mixed *= _X
    mixed ^= mixed >> _SHIFT_A
    return np.minimum(mixed * _TO_UNIT, np.float32(1 - 2**-24), dtype=np.float32)


def _whole(values):
    return np.floor(values).astype(np.int32).view(np.uint32)


def smooth_noise(x: np.ndarray, y: np.ndarray, salt: int = 0) -> np.ndarray:
    """Smooth noise in [0, 1] over the plane: hashed corners of unit cells, blended. float32,
    shape of `x`.
    """
    left, low = np.floor(x), np.floor(y)
    fx, fy = (x - left).astype(np.float32), (y - low).astype(np.float32)
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    bottom = _blend(hash_cells(left, low, salt=salt), hash_cells(left + 1, low, salt=salt), fx)
    top = _blend(hash_cells(left, low + 1, salt=salt), hash_cells(left + 1, low + 1, salt=salt), fx)
    return _blend(bottom, top, fy)


def _blend(a, b, fraction):
    return a + (b - a) * fraction
