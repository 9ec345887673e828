"""Images cut into the tiles that a network of fixed size reads."""

from dataclasses import dataclass

import numpy as np

_SQUEEZE = 0.2  # of a tile: a rest no longer than this is squeezed in rather than cut into one more


@dataclass(frozen=True)
class Tiling:
    """An image scaled to (width, height) and the upper left corners of tiles that cover it."""

    size: tuple[int, int]
    tile: tuple[int, int]
    corners: tuple[tuple[int, int], ...]  # (left, top)


def tiling(image_size: tuple[int, int], tile: tuple[int, int]) -> Tiling:
    """The Tiling of an image with tiles of (width, height).

    The image is scaled until one tile just covers it one way; along the other as many tiles as it
    takes lie side by side, evenly, so that they overlap.
    """
    scale = max(tile[0] / image_size[0], tile[1] / image_size[1])
    size, places = [], []
    for length, part in zip(image_size, tile, strict=True):
        scaled = max(round(length * scale), part)
        number = max(int(np.ceil(scaled / part - _SQUEEZE)), 1)
        scaled = min(scaled, number * part)
        size.append(scaled)
        places.append(np.linspace(0, scaled - part, number).round().astype(int).tolist())
    corners = tuple((left, top) for top in places[1] for left in places[0])
    return Tiling((size[0], size[1]), tile, corners)


def tile_weights(tile: tuple[int, int]) -> np.ndarray:
    """(height, width, 1) float32, how much a tile's answer counts where tiles overlap: 1 in the
    middle, little at the border, where a network sees only half of what is around a pixel."""
    across, down = (1 - np.abs(np.linspace(-1, 1, length + 2)[1:-1]) for length in tile)
    return (np.outer(down, across) + 1e-3).astype(np.float32)[:, :, None]
