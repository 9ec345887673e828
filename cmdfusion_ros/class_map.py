"""raw id <-> label <-> name <-> colour.

A class map is a list of classes and, for each dataset whose files can be read with it, a table from
every raw id of that dataset to a class or to nothing. The maps themselves are data: those that
ship, `class_maps/*.yaml`, and files of one's own (docs/own_data.md shows the format).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from cmdfusion_ros.frame import IGNORE_LABEL
from cmdfusion_ros.strict_yaml import read_yaml

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
        folds: {dataset: {raw id: class name, or None for ignore}}; a map's own raw ids need no
            table.
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

    @property
    def datasets(self) -> tuple[str, ...]:
        """Whose raw ids can be read with it: itself, and those of `folds`."""
        return tuple(sorted({self.name, *self.folds}))

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
        if dataset not in self.datasets:
            raise ValueError(
                f"class map {self.name}: cannot read labels of {dataset!r}; expected one of "
                f"{', '.join(self.datasets)}"
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
        own = {self.ignore_raw: None, **{info.raw: info.name for info in self.classes}}
        for raw_id, name in self.folds.get(dataset, own).items():
            table[raw_id] = IGNORE_LABEL if name is None else labels[name]
        labels = table[raw]
        if (labels < 0).any():
            unknown = np.unique(raw[labels < 0])[:8].tolist()
            ids = set(np.unique(raw).tolist())
            others = [name for name, fold in self.folds.items() if ids <= set(fold)]
            hint = f"; the map has all of them for dataset {' or '.join(others)}" if others else ""
            raise ValueError(
                f"{where or dataset}: raw ids {unknown} are not in class map {self.name} for "
                f"{dataset}{hint or '; is the class map right?'}"
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
    if not isinstance(values, dict):
        raise ValueError(f"class map: expected name, raw and color of a class, got {values!r:.80}")
    named = f"class map, class {values.get('name', values)!r:.80}"
    missing = [key for key in ("name", "raw", "color") if key not in values]
    if missing:
        raise ValueError(f"{named}: {' and '.join(missing)} missing")
    unknown = sorted(map(str, set(values) - {"name", "raw", "color", "thing"}))
    if unknown:
        raise ValueError(f"{named}: unknown keys {unknown}; expected name, raw, color, thing")
    color, thing = values["color"], values.get("thing", False)
    if not isinstance(thing, bool):
        raise ValueError(f"{named}, thing: expected true or false, got {thing!r:.80}")
    color = tuple(color) if isinstance(color, list) else color
    return ClassInfo(values["name"], values["raw"], color, thing)


def _fold(name, dataset, table):
    """One table of `folds`; the keys of a JSON file are texts."""
    if not isinstance(table, dict):
        raise ValueError(f"class map {name}, {dataset}: expected a mapping, got {table!r:.80}")
    fold = {}
    for raw, class_name in table.items():
        is_text = isinstance(raw, str) and raw.isascii() and raw.isdigit() and len(raw) < 10
        fold[int(raw) if is_text else raw] = class_name
    return fold


def load_class_map(name: str | Path) -> "ClassMap":
    """A class map: one that ships, by its name, or a file of one's own, by its path (.yaml, .yml).

    A file may say `through: {street: {road: drivable, car: null, ...}}`: each class of that shipped
    map goes to a class of the file or to nothing, and every data set that the shipped map reads is
    read so, but for those that `folds` has tables of.

    Raises:
        ValueError: no map of this name, or no such file; a file that is no class map, with the
            field that is wrong.
    """
    name = str(name)
    if not name.endswith((".yaml", ".yml")):
        return _shipped(name)
    try:
        values = read_yaml(name)
    except OSError as error:
        raise ValueError(f"class map: {name}: {error.strerror or error}") from error
    try:
        own = ClassMap.from_dict(_without_through(values))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if own.name in _shipped_names() and own != _shipped(own.name):
        raise ValueError(f"{name}: name: {own.name} is a map that ships; give yours another name")
    return own


# Beside this file, wherever the package's name is found first: a colcon workspace with our
# messages comes before it on the path, and has the name but no maps.
_FOLDER = Path(__file__).with_name("class_maps")


def _shipped_names():
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


@cache
def _shipped(name: str) -> "ClassMap":
    if name not in _shipped_names():
        raise ValueError(
            f"class map: expected one of {', '.join(_shipped_names())}, or the path of a .yaml "
            f"file, got {name!r:.80}"
        )
    return ClassMap.from_dict(read_yaml(_FOLDER / f"{name}.yaml"))


def _without_through(values):
    """The content of a file with the tables that its `through` stands for among its `folds`."""
    if not isinstance(values, dict) or "through" not in values:
        return values
    through = values["through"]
    if not isinstance(through, dict) or not all(isinstance(t, dict) for t in through.values()):
        raise ValueError(
            "through: expected {name of a shipped class map: {class of it: class here, or null}}, "
            f"got {through!r:.80}"
        )
    tables = {}
    for name, onto in through.items():
        shipped = _shipped(str(name))
        wrong = set(shipped.names) ^ {str(key) for key in onto}
        if wrong:
            raise ValueError(
                f"through, {name}: expected every class of {name} once and no other; look at "
                f"{', '.join(sorted(wrong))}"
            )
        for dataset, table in shipped.folds.items():
            tables[dataset] = {raw: None if at is None else onto[at] for raw, at in table.items()}
    rest = {key: value for key, value in values.items() if key != "through"}
    folds = values.get("folds", {})
    return {**rest, "folds": {**tables, **folds} if isinstance(folds, dict) else folds}
