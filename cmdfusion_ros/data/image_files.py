"""Image files of data sets -> RGB arrays, checked against the calibration that they are used with."""

import numpy as np

_CENTRAL = (0.2, 0.8)  # where the principal point of a camera lies, as a fraction of each side; an image resized to half has it at 1


def read_image(path, intrinsic, advice):
    """One image file -> (H, W, 3) uint8 RGB.

    Args:
        intrinsic: (3, 3), of the image as it should be.
        advice: what to do where the file is missing.

    Raises:
        FileNotFoundError, ValueError: no such file; not an image; an image that `intrinsic` cannot be of.
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
        u, v = intrinsic[0, 2], intrinsic[1, 2]
        raise ValueError(f"{path}: {width} x {height} pixels do not fit the calibration, whose principal point is ({u:g}, {v:g}); was the image resized?")
    return np.ascontiguousarray(image[:, :, ::-1])
