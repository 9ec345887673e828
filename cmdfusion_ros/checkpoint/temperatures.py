"""Confidence that means something: logits divided by a temperature that depends on distance
(temperature scaling, Guo et al. 2017).

A network is surer than it is right, and by how much depends on how many points it saw of a thing,
so on distance. Dividing all logits of a point by one number changes how sure it is and never which
class is first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0


@dataclass(frozen=True)
class Temperatures:
    """Temperatures of softmax at some horizontal distances from the sensor; between them 1 /
    temperature is interpolated, outside the nearest one holds.

    Not the temperature itself is interpolated, because the likelihood of labels is then a convex
    function of the numbers that are fitted.

    Attributes:
        distances: metres, each more than the one before.
        values: temperature at each, MIN_TEMPERATURE to MAX_TEMPERATURE; 1 changes nothing, more
            makes less sure.

    Raises:
        ValueError: not as many of both, or values outside those bounds.
    """

    distances: tuple
    values: tuple

    def __post_init__(self) -> None:
        if not self.distances or len(self.distances) != len(self.values):
            raise ValueError(
                f"temperatures: expected one at each distance, got {len(self.values)} at "
                f"{len(self.distances)} distances"
            )
        for number in (*self.distances, *self.values):
            if (
                isinstance(number, bool)
                or not isinstance(number, (int, float))
                or not np.isfinite(number)
            ):
                raise ValueError(f"temperatures: expected finite numbers, got {number!r}")
        if self.distances[0] < 0 or (np.diff(self.distances) <= 0).any():
            raise ValueError(
                "temperatures: expected rising distances in metres, none below 0, got "
                f"{self.distances}"
            )
        if not all(MIN_TEMPERATURE <= value <= MAX_TEMPERATURE for value in self.values):
            raise ValueError(
                f"temperatures: expected values of {MIN_TEMPERATURE} to {MAX_TEMPERATURE}, got "
                f"{self.values}; fit them again"
            )

    def inverse_at(self, points: np.ndarray) -> np.ndarray:
        """(N,) float32, 1 / temperature at (N, 3) points in metres, LiDAR frame."""
        # np.hypot is three times as slow
        distance = np.sqrt(points[:, 0] * points[:, 0] + points[:, 1] * points[:, 1])
        return np.interp(distance, self.distances, 1 / np.array(self.values)).astype(np.float32)

    def applied_to(self, probabilities: np.ndarray, points: np.ndarray) -> np.ndarray:
        """(N, C) float32: the probabilities that the logits behind `probabilities` (N, C) have
        at the temperatures of (N, 3) points. Rows sum to 1.
        """
        powers = probabilities ** self.inverse_at(points)[:, None]
        return powers / powers.sum(1, keepdims=True)

    def to_dict(self) -> dict[str, list[float]]:
        """Plain values, of which `from_dict` makes an equal object."""
        return {"distances": list(self.distances), "values": list(self.values)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Temperatures":
        """Temperatures of what `to_dict` gave.

        Raises:
            ValueError: other keys, something else than lists, or numbers that cannot be
                temperatures.
        """
        if (
            not isinstance(values, dict)
            or set(values) != {"distances", "values"}
            or not all(isinstance(each, list) for each in values.values())
        ):
            raise ValueError(
                f"temperatures: expected lists of distances and values, got {values!r}; fit them "
                "again"
            )
        return cls(tuple(values["distances"]), tuple(values["values"]))
