"""Image files of data sets -> RGB arrays, checked against the calibration that they are
used with.
"""

from pathlib import Path

import numpy as np

# Where the principal point of a camera lies, as a fraction of each side: 0.43 to 0.56 for all
# cameras of KITTI, PandaSet and nuScenes at hand. An image resized
# to half has it at 1, one of double size at 0.25; what is resized by less than a fifth is not found
# so.
_CENTRAL = (0.4, 0.6)


def read_image(path: str | Path, intrinsic: np.ndarray, advice: str) -> np.ndarray:
    """One image file -> (H, W, 3) uint8 RGB.

    Args:
        intrinsic: (3, 3), of the image as it should be.
        advice: what to do where the file is missing.

    Raises:
        FileNotFoundError, ValueError: no such file; not an image; an image that `intrinsic` cannot
            be of.
    """
    import cv2  # here: most readers want no images

    if not path.exists():
        raise FileNotFoundError(f"{path}: no image; {advice}")
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path}: not readable as an image; fetch it again")
    height, width = image.shape[:2]
    centre = intrinsic[0, 2] / width, intrinsic[1, 2] / height
    if not all(_CENTRAL[0] < part < _CENTRAL[1] for part in centre):
        point = f"({intrinsic[0, 2]:g}, {intrinsic[1, 2]:g})"
        raise ValueError(
            f"{path}: {width} x {height} pixels do not fit the calibration, whose principal point "
            f"is {point}; was the image resized or cropped?"
        )
    return np.ascontiguousarray(image[:, :, ::-1])
