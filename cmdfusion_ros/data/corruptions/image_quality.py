"""Corruptions of one picture: (H, W, 3) uint8 RGB, rng, numbers -> the same shape and type.

The formulas are those of Hendrycks and Dietterich (ICLR 2019) as RoboBEV and MultiCorrupt use
them, with their numbers. Colours are parts of full scale, 0 to 1, inside.
"""

import cv2
import numpy as np


def _bytes(picture: np.ndarray) -> np.ndarray:
    return np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)


def brightness(image: np.ndarray, rng: np.random.Generator, added: float) -> np.ndarray:
    """The value of hue, saturation, value grows by `added`: all three colours by one factor; what
    was black becomes grey. Nothing is drawn."""
    picture = image / 255.0
    value = picture.max(2, keepdims=True)
    target = np.minimum(value + added, 1)
    return _bytes(np.where(value > 0, picture * target / np.maximum(value, 1e-9), target))


def dark(
    image: np.ndarray, rng: np.random.Generator, scale: float, photons: float, deviation: float
) -> np.ndarray:
    """Few photons: colours are stretched to 0 .. 1, squared and multiplied by `scale`; then shot
    noise of `photons` at full scale, and normal noise of `deviation`."""
    picture = image / 255.0
    low, high = picture.min(), picture.max()
    picture = scale * ((picture - low) / max(high - low, 1e-9)) ** 2
    picture = np.clip(rng.poisson(picture * photons) / photons, 0, 1)
    return _bytes(picture + deviation * rng.standard_normal(picture.shape))


def quantise(image: np.ndarray, rng: np.random.Generator, bits: int) -> np.ndarray:
    """Only the highest `bits` of every colour are kept. Nothing is drawn."""
    return image & np.uint8(256 - 2 ** (8 - bits))


def _streaked(picture: np.ndarray, radius: int, deviation: float, degrees: float) -> np.ndarray:
    """Blurred along a line, to one side: half a normal curve of `deviation` pixels over
    2 radius + 1 pixels."""
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * deviation**2))
    weights /= weights.sum()
    angle = np.radians(degrees)
    kernel = np.zeros((4 * radius + 1, 4 * radius + 1), np.float32)
    across = np.rint(steps * np.cos(angle)).astype(int)
    down = np.rint(steps * np.sin(angle)).astype(int)
    np.add.at(kernel, (2 * radius + down, 2 * radius + across), weights.astype(np.float32))
    return cv2.filter2D(picture.astype(np.float32), -1, kernel, borderType=cv2.BORDER_REPLICATE)


def streak(
    image: np.ndarray, rng: np.random.Generator, radius: int, deviation: float
) -> np.ndarray:
    """Motion blur along a line within 45 degrees of level."""
    return _bytes(_streaked(image / 255.0, radius, deviation, rng.uniform(-45, 45)))


def plasma(size: int, decay: float, rng: np.random.Generator) -> np.ndarray:
    """(size, size) clouds in 0 .. 1 by diamonds and squares on a torus; the roughness falls by
    `decay` from one halving of the grid to the next. `size` is a power of two."""
    field = np.zeros((size, size))
    step, rough = size, 100.0
    while step >= 2:
        half = step // 2
        corners = field[::step, ::step]
        right, below = np.roll(corners, -1, 1), np.roll(corners, -1, 0)
        square = (corners + right + below + np.roll(below, -1, 1)) / 4
        square = square + rng.uniform(-rough, rough, square.shape) * rough
        field[half::step, half::step] = square
        upper, left = np.roll(square, 1, 0), np.roll(square, 1, 1)
        level = (corners + right + square + upper) / 4
        field[::step, half::step] = level + rng.uniform(-rough, rough, level.shape) * rough
        upright = (corners + below + square + left) / 4
        field[half::step, ::step] = upright + rng.uniform(-rough, rough, upright.shape) * rough
        step, rough = half, rough / decay
    field -= field.min()
    return field / max(float(field.max()), 1e-9)


def _clouds(image: np.ndarray, decay: float, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    return plasma(1 << (max(height, width) - 1).bit_length(), decay, rng)[:height, :width]


def _veiled(picture: np.ndarray, clouds: np.ndarray, strength: float) -> np.ndarray:
    top = float(picture.max())
    return np.clip((picture + strength * clouds[..., None]) * top / (top + strength), 0, 1)


def mist(image: np.ndarray, rng: np.random.Generator, strength: float, decay: float) -> np.ndarray:
    """RoboBEV's fog: clouds of `strength` over the whole picture, which is dimmed to make room."""
    return _bytes(_veiled(image / 255.0, _clouds(image, decay, rng), strength))


def haze(image: np.ndarray, rng: np.random.Generator, strength: float, beta: float) -> np.ndarray:
    """MultiCorrupt's fog: clouds that let through and scatter unevenly, then grey that grows with
    the distance in pixels from where the road is (rows 65 to 99 %, columns 10 to 85 %)."""
    clouds = _clouds(image, 1.7, rng)
    clouds = clouds * (1 - 0.8 * _clouds(image, 1.7, rng)) * (1 + 0.5 * _clouds(image, 1.7, rng))
    picture = _veiled(image / 255.0, clouds, strength)
    height, width = image.shape[:2]
    rows, columns = np.arange(height)[:, None], np.arange(width)[None]
    off_rows = np.maximum(np.maximum(int(0.65 * height) - rows, rows - int(0.99 * height)), 0)
    off_columns = np.maximum(np.maximum(int(0.1 * width) - columns, columns - int(0.85 * width)), 0)
    away = 2 * np.hypot(off_rows, off_columns) * (1 + rng.random((height, width)) / 4)
    through = np.exp(-beta * (away + np.sqrt(max(height, width))))[..., None]
    return _bytes(picture * through + 0.5 * (1 - through))


def flakes(
    image: np.ndarray,
    rng: np.random.Generator,
    mean: float,
    zoom: float,
    least: float,
    radius: int,
    deviation: float,
    kept: float,
    dimmed: float = 1.0,
) -> np.ndarray:
    """Snow: normal noise of `mean` and 0.3 enlarged `zoom` times, what is above `least` of it
    streaked downward, twice; under it a picture of which a part is replaced by its bright grey.

    Args:
        kept: part of the picture that stays. dimmed: factor of its brightness (MultiCorrupt: 0.9).
    """
    height, width = image.shape[:2]
    small = rng.normal(mean, 0.3, (int(np.ceil(height / zoom)), int(np.ceil(width / zoom))))
    layer = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    layer = np.clip(np.where(layer < least, 0, layer), 0, 1)
    layer = _streaked(layer, radius, deviation, rng.uniform(45, 135))[..., None]
    picture = image / 255.0
    grey = (picture @ np.array([0.299, 0.587, 0.114]))[..., None]
    pale = kept * picture + (1 - kept) * np.maximum(picture, 1.5 * grey + 0.5)
    return _bytes(dimmed * pale + layer + layer[::-1, ::-1])
