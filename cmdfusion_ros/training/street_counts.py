"""Confusion counts of every street of a test, from which what other streets would have said is
drawn, and how many things of each class there are."""

from typing import Any

import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.evaluation.metrics import ConfusionMatrix
from cmdfusion_ros.frame import Frame


class StreetCounts:
    """What `evaluate` shows its `watch`, counted by sequence ("<set>/<sequence>/<scan>")."""

    def __init__(self, class_map: ClassMap):
        self._class_map = class_map
        self._matrices: dict[str, dict[str, ConfusionMatrix]] = {"all": {}, "0": {}}
        self._things: set[tuple[str, int, int]] = set()

    def __call__(self, frame: Frame, live: int, cameras: int, labels: np.ndarray) -> None:
        """Count the (N,) labels that a network gave a Frame with `live` of its `cameras`."""
        street = frame.name.rpartition("/")[0]
        for key, number in (("all", cameras), ("0", 0)):
            if live == number:
                empty = ConfusionMatrix(self._class_map.num_classes)
                self._matrices[key].setdefault(street, empty).add(frame.labels, labels)
        if frame.instance_ids is not None:
            things = np.unique(np.c_[frame.labels, frame.instance_ids], axis=0)
            self._things |= {(street, int(a), int(b)) for a, b in things if b}

    def to_dict(self) -> dict[str, Any]:
        """Plain values: streets, counts {"all", "0": of each street its matrix}, and things: by the
        name of a class how many there are; empty where the set has no instance ids."""
        streets = sorted(self._matrices["all"])
        things = np.bincount([label for _, label, _ in self._things], minlength=256)
        names = enumerate(self._class_map.names)
        return {
            "streets": streets,
            "counts": {
                key: [matrices[street].counts.tolist() for street in streets]
                for key, matrices in self._matrices.items()
                if matrices
            },
            "things": {name: int(things[label]) for label, name in names} if self._things else {},
        }
