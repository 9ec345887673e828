"""The correction with which the edges of clouds lie best on the edges of images."""

from collections.abc import Callable, Sequence

import numpy as np

from cmdfusion_ros.labelling.alignment.score import Correction, Scene, spread

SIGMA = 0.3  # degrees, of all scores that are compared
_COARSE = 0.6
_STARTS = 3  # of the coarse search, which are refined
_PRICE = 0.004  # of a score, for each degree (or 10 cm, or 50 ms) of a correction

Maker = Callable[[Sequence[float] | np.ndarray], Correction]


def best_turn(scene: Scene) -> Correction:
    """A rotation within 7 degrees."""
    steps = np.arange(-7.0, 7.01, 0.5)
    starts = [(x, y, 0.0) for x in steps[np.abs(steps) <= 6.0] for y in steps]
    return _best(scene, starts, lambda v: Correction(turn=(v[0], v[1], v[2])), 0.5, 1.0)


def best_shift(scene: Scene) -> Correction:
    """A translation within 0.6 m."""
    steps = np.arange(-0.6, 0.61, 0.06)
    starts = [(x, y, 0.0) for x in steps for y in steps[np.abs(steps) <= 0.4]]
    return _best(scene, starts, lambda v: Correction(shift=(v[0], v[1], v[2])), 0.06, 0.1)


def best_late(scene: Scene) -> Correction:
    """A time within 0.25 s."""
    starts = [(late,) for late in np.arange(-0.25, 0.251, 0.02)]
    return _best(scene, starts, lambda v: Correction(late=v[0]), 0.02, 0.05)


def _best(
    scene: Scene, starts: Sequence[tuple[float, ...]], made: Maker, step: float, unit: float
) -> Correction:
    every = max(1, scene.num_in_reach // 8_000)

    def value(numbers: Sequence[float] | np.ndarray, sigma: float, every: int = 1) -> float:
        price = _PRICE * float(np.linalg.norm(numbers)) / unit
        return scene.closeness(made(numbers), sigma, every).score() - price

    coarse = np.array([value(start, _COARSE, every) for start in starts])
    places = np.array(starts)
    ends = [(value(zero, SIGMA), zero) for zero in [(0.0,) * len(starts[0])]]
    for _ in range(_STARTS):
        top = int(coarse.argmax())
        end = _refined(lambda v: value(v, _COARSE, every), places[top], step, step / 2)
        end = _refined(lambda v: value(v, SIGMA), end, step / 2, step / 8)
        ends.append((value(end, SIGMA), tuple(float(x) for x in end)))
        coarse[np.linalg.norm(places - places[top], axis=1) < 2.1 * step] = -np.inf
    return made(max(ends)[1])


def _refined(
    value: Callable[[np.ndarray], float], start: np.ndarray, step: float, least: float
) -> np.ndarray:
    """Climb along the axes with steps that halve."""
    place, best = np.array(start, float), value(start)
    while step >= least:
        better = False
        for axis in range(len(place)):
            for sign in (1, -1):
                other = place.copy()
                other[axis] += sign * step
                if (found := value(other)) > best + 1e-6:
                    place, best, better = other, found, True
        if not better:
            step /= 2
    return place


def gain(scene: Scene, correction: Correction, than: Correction) -> tuple[float, float]:
    """(score of the one less that of the other, how many deviations that is: a jackknife over
    blocks of scans and sectors of the image).
    """
    new, old = scene.closeness(correction, SIGMA), scene.closeness(than, SIGMA)
    total = new.score() - old.score()
    without = new.without_each_block() - old.without_each_block()
    used = (new.counts + old.counts).sum(axis=(0, 1)) > 0
    return total, total / spread(without[used])
