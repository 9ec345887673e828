"""raw id <-> label <-> name <-> colour.

A class map is a list of classes and, for each dataset whose files can be read with it, a table from
every raw id of that dataset to a class or to nothing. The maps themselves are data:
`class_maps/*.yaml`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cmdfusion_ros.frame import IGNORE_LABEL

_MAX_RAW = 65536  # raw labels are 16 bit in every dataset read here
_LONGEST_NAME = 100


def _check_raw(where, raw):
    """ValueError unless `raw` is a raw label."""
    if type(raw) is not int or not 0 <= raw < _MAX_RAW:
        raise ValueError(
            f"{where}: expected a raw id that is a whole number of 0 to {_MAX_RAW - 1}, got "
            f"{raw!r:.80}"
        )


@dataclass(frozen=True)
class ClassInfo:
    """One class: its name, the id it has in published clouds and label files, its RGB colour,
    and whether it is countable (a thing).
    """

    name: str
    raw: int
    color: tuple
    thing: bool = False

    def __post_init__(self):
        if not isinstance(self.name, str) or not 0 < len(self.name) <= _LONGEST_NAME:
            raise ValueError(
                f"class map: expected names of 1 to {_LONGEST_NAME} letters, got {self.name!r:.80}"
            )
        _check_raw(f"class {self.name}", self.raw)
        if (
            not isinstance(self.color, tuple)
            or len(self.color) != 3
            or not all(type(part) is int and 0 <= part <= 255 for part in self.color)
        ):
            raise ValueError(
                f"class {self.name}: expected a colour of three whole numbers of 0 to 255, got "
                f"{self.color!r:.80}"
            )


@dataclass(frozen=True)
class ClassMap:
    """The classes a network knows, in the order of its labels (train ids 0..C-1).

    Attributes:
        name: "street", "semantic_kitti", ...
        classes: tuple of ClassInfo; the index is the label.
        ignore_raw: raw id written for a point without a label.
        folds: {dataset: {raw id: class name, or None for ignore}}.
    """

    name: str
    classes: tuple
    ignore_raw: int = 0
    folds: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < len(self.classes) < IGNORE_LABEL:
            raise ValueError(
                f"class map {self.name}: expected 1 to {IGNORE_LABEL - 1} classes, got "
                f"{len(self.classes)}"
            )
        for what in ("name", "raw"):
            values = [getattr(info, what) for info in self.classes]
            if len(set(values)) != len(values):
                raise ValueError(f"class map {self.name}: two classes share a {what}: {values}")
        _check_raw(f"class map {self.name}, ignore_raw", self.ignore_raw)
        if self.ignore_raw in {info.raw for info in self.classes}:
            raise ValueError(
                f"class map {self.name}: raw id {self.ignore_raw} stands for ignore and for a class"
            )
        for dataset, table in self.folds.items():
            for raw, name in table.items():
                _check_raw(f"class map {self.name}, {dataset}", raw)
                if name is not None and name not in self.names:
                    raise ValueError(
                        f"class map {self.name}, {dataset}: raw id {raw} goes to unknown class "
                        f"{name!r}; expected one of {', '.join(self.names)}"
                    )

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(info.name for info in self.classes)

    @property
    def colors(self) -> np.ndarray:
        """(C, 3) uint8, RGB, row = label."""
        return np.array([info.color for info in self.classes], np.uint8)

    @property
    def thing_labels(self) -> tuple[int, ...]:
        """Labels of the countable classes, ascending."""
        return tuple(label for label, info in enumerate(self.classes) if info.thing)

    def label(self, name: str) -> int:
        """The label of the class called `name`; ValueError with the known names otherwise."""
        if name not in self.names:
            raise ValueError(
                f"class map {self.name}: no class {name!r}; expected one of {', '.join(self.names)}"
            )
        return self.names.index(name)

    def labels_from_raw(self, raw: np.ndarray, dataset: str, where: str = "") -> np.ndarray:
        """(N,) raw ids of `dataset`, of any integer dtype -> (N,) uint8 labels.

        Raises:
            ValueError: ids that are no integers of 0 to 65535, or that the map does not list:
                nothing is labelled by default. `where` names their source.
        """
        if dataset not in self.folds:
            raise ValueError(
                f"class map {self.name}: cannot read labels of {dataset!r}; expected one of "
                f"{', '.join(self.folds)}"
            )
        raw = np.asarray(raw)
        if raw.dtype.kind not in "iu":
            raise ValueError(
                f"{where or dataset}: expected raw ids of an integer dtype, got {raw.dtype}; are "
                "these labels?"
            )
        if raw.size and (raw.min() < 0 or raw.max() >= _MAX_RAW):
            raise ValueError(
                f"{where or dataset}: expected raw ids of 0 to {_MAX_RAW - 1}, got {raw.min()} to "
                f"{raw.max()}; do they hold instance ids too?"
            )
        table = np.full(_MAX_RAW, -1, np.int16)
        labels = {name: label for label, name in enumerate(self.names)}
        for raw_id, name in self.folds[dataset].items():
            table[raw_id] = IGNORE_LABEL if name is None else labels[name]
        labels = table[raw]
        if (labels < 0).any():
            unknown = np.unique(raw[labels < 0])[:8].tolist()
            raise ValueError(
                f"{where or dataset}: raw ids {unknown} are not in class map {self.name} for "
                f"{dataset}; is the class map right?"
            )
        return labels.astype(np.uint8)

    def raw_from_labels(self, labels: np.ndarray) -> np.ndarray:
        """(N,) labels -> (N,) uint16 raw ids of this map (what is published and written);
        IGNORE_LABEL -> `ignore_raw`.
        """
        table = np.full(256, self.ignore_raw, np.uint16)
        table[: self.num_classes] = [info.raw for info in self.classes]
        return table[labels]

    def colors_from_labels(self, labels: np.ndarray) -> np.ndarray:
        """(N,) labels -> (N, 3) uint8 RGB; IGNORE_LABEL is mid-grey."""
        table = np.full((256, 3), 90, np.uint8)
        table[: self.num_classes] = self.colors
        return table[labels]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `from_dict` takes them: what a checkpoint carries."""
        classes = [
            {"name": c.name, "raw": c.raw, "color": list(c.color), "thing": c.thing}
            for c in self.classes
        ]
        return {
            "name": self.name,
            "ignore_raw": self.ignore_raw,
            "classes": classes,
            "folds": self.folds,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ClassMap":
        """The inverse of `to_dict`; also takes the result of reading a JSON file, whose keys are
        strings.
        """
        if not isinstance(values, dict):
            raise ValueError(f"class map: expected a mapping, got {values!r:.80}")
        unknown = set(values) - {"name", "ignore_raw", "classes", "folds"}
        if unknown:
            raise ValueError(f"class map: unknown keys {sorted(map(str, unknown))}")
        name, items, folds = values.get("name"), values.get("classes"), values.get("folds", {})
        for key, value, kind in (
            ("name", name, str),
            ("classes", items, list),
            ("folds", folds, dict),
        ):
            if not isinstance(value, kind):
                raise ValueError(
                    f"{key!r}: expected a {kind.__name__} in a class map, got {value!r:.80}"
                )
        return cls(
            name,
            tuple(_class_info(item) for item in items),
            values.get("ignore_raw", 0),
            {dataset: _fold(name, dataset, table) for dataset, table in folds.items()},
        )


def _class_info(values):
    """One item of `classes`."""
    if not isinstance(values, dict) or not {"name", "raw", "color"} <= set(values):
        raise ValueError(f"class map: expected name, raw and color, got {values!r:.80}")
    color = values["color"]
    return ClassInfo(
        values["name"],
        values["raw"],
        tuple(color) if isinstance(color, list) else color,
        bool(values.get("thing", False)),
    )


def _fold(name, dataset, table):
    """One table of `folds`; the keys of a JSON file are texts."""
    if not isinstance(table, dict):
        raise ValueError(f"class map {name}, {dataset}: expected a mapping, got {table!r:.80}")
    fold = {}
    for raw, class_name in table.items():
        is_text = isinstance(raw, str) and raw.isascii() and raw.isdigit() and len(raw) < 10
        fold[int(raw) if is_text else raw] = class_name
    return fold


@cache
def load_class_map(name: str) -> "ClassMap":
    """The shipped class map called `name`; ValueError with the known names otherwise."""
    # Beside this file, wherever the package's name is found first: a colcon workspace with our
    # messages comes before it on the path, and has the name but no maps.
    folder = Path(__file__).with_name("class_maps")
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise ValueError(f"class map: expected one of {', '.join(known)}, got {name!r}")
    return ClassMap.from_dict(yaml.safe_load((folder / f"{name}.yaml").read_text()))
