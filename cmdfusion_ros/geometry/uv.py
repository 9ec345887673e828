"""How pixels move when an image is cropped, resized or mirrored."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class UVTransform:
    """new u = scale_u * u + offset_u, and so v; pixel centres are at whole numbers, so an image
    covers [-0.5, width - 0.5).

    Attributes:
        scale: (scale_u, scale_v); negative where mirrored.
        offset: (offset_u, offset_v), pixels of the new image.
        size: (width, height) of the new image.
    """

    scale: tuple
    offset: tuple
    size: tuple

    @classmethod
    def resize(cls, size: tuple[int, int], new_size: tuple[int, int]) -> "UVTransform":
        """From an image of `size` to one of `new_size`; both cover the same field of view."""
        scale = (new_size[0] / size[0], new_size[1] / size[1])
        return cls(scale, (0.5 * scale[0] - 0.5, 0.5 * scale[1] - 0.5), tuple(new_size))

    @classmethod
    def crop(cls, left: int, top: int, size: tuple[int, int]) -> "UVTransform":
        """The part of an image of this `size` whose first pixel is (left, top)."""
        return cls((1.0, 1.0), (-float(left), -float(top)), tuple(size))

    @classmethod
    def mirror(cls, size: tuple[int, int]) -> "UVTransform":
        """Left and right exchanged."""
        return cls((-1.0, 1.0), (size[0] - 1.0, 0.0), tuple(size))

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """(N, 2) pixels of the old image -> (N, 2) float32 of the new one, which may lie outside
        it. NaN stays NaN.
        """
        return (
            pixels * np.array(self.scale, np.float32) + np.array(self.offset, np.float32)
        ).astype(np.float32)

    def of_intrinsic(self, intrinsic: np.ndarray) -> np.ndarray:
        """(3, 3) intrinsic of the old image -> that of the new one; its focal length along u is
        negative where mirrored.
        """
        return (
            np.array(
                [[self.scale[0], 0, self.offset[0]], [0, self.scale[1], self.offset[1]], [0, 0, 1]]
            )
            @ intrinsic
        )

    def normalise(self, pixels: np.ndarray) -> np.ndarray:
        """(N, 2) pixels of the new image -> (N, 2) in [-1, 1) from its left (top) edge to its
        right (bottom) edge, for maps of any size.
        """
        return (2 * pixels + 1) / np.array(self.size, np.float32) - 1
