"""The classes of published 2D segmentation networks by name, and what each means in the class map
street: `class_lists/*.yaml`."""

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import yaml

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.config import nearest_name


@dataclass(frozen=True)
class ClassList:
    """The named classes of a 2D network, in the order of its outputs.

    Attributes:
        name: "cityscapes", "ade20k", "coco_stuff", "mapillary", or what a description calls it.
        names: of its classes, as `plain_name` writes them.
        meanings: for each class the name of a class of street, or None where it says nothing of a
            point ("sky", or an indoor class).
    """

    name: str
    names: tuple[str, ...]
    meanings: tuple[str | None, ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.meanings):
            raise ValueError(
                f"class list {self.name}: expected one meaning a class, got {len(self.meanings)} "
                f"for {len(self.names)} classes"
            )
        if not any(self.meanings):
            raise ValueError(
                f"class list {self.name}: none of its classes ({', '.join(self.names[:5])}, ...) "
                "means a class of street; name them as Cityscapes, ADE20K, COCO-Stuff or "
                "Mapillary do, or give `folds`"
            )

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of the classes that say nothing."""
        pairs = zip(self.names, self.meanings, strict=True)
        return tuple(name for name, meaning in pairs if meaning is None)

    def matrix(self, class_map: ClassMap) -> np.ndarray:
        """(K, C + 1) float32 of 0 and 1: probabilities of the network's K classes times this are
        those of the C classes of `class_map`, and in the last column that of saying nothing."""
        folded = np.zeros((len(self.names), class_map.num_classes + 1), np.float32)
        for row, meaning in enumerate(self.meanings):
            column = class_map.num_classes if meaning is None else class_map.label(meaning)
            folded[row, column] = 1.0
        return folded


def plain_name(name: str) -> str:
    """A class name without case, punctuation and synonyms: "Traffic_Light; signal" is
    "traffic light", as lists of one set are written in many ways."""
    first = re.split(r"[;,]", name.lower(), maxsplit=1)[0]
    return " ".join(re.sub(r"[_()\-]+", " ", first).split())


def class_list_names() -> tuple[str, ...]:
    """Names of the lists that ship."""
    folder = resources.files("cmdfusion_ros") / "image_teachers" / "class_lists"
    files = [entry.name for entry in folder.iterdir()]
    return tuple(sorted(name[:-5] for name in files if name.endswith(".yaml")))


@cache
def load_class_list(name: str) -> ClassList:
    """The list that ships under `name`; ValueError with the known names otherwise."""
    if name not in class_list_names():
        raise ValueError(f"class list {name!r}: unknown{nearest_name(name, class_list_names())}")
    path = resources.files("cmdfusion_ros") / "image_teachers" / "class_lists" / f"{name}.yaml"
    content = yaml.safe_load(path.read_text())
    names = tuple(plain_name(each) for each in content["classes"])
    return ClassList(name, names, _meanings(names, _table(content["folds"], name)))


def class_list_of(number: int) -> ClassList:
    """The list that ships with `number` classes, or one fewer where the last is "unlabelled".

    Raises:
        ValueError: there is none; the names must then be given.
    """
    for spare in (0, 1):
        for each in map(load_class_list, class_list_names()):
            if len(each.names) + spare == number:
                rest = ("unlabelled",) * spare
                return ClassList(each.name, each.names + rest, each.meanings + (None,) * spare)
    known = ", ".join(f"{name} {len(load_class_list(name).names)}" for name in class_list_names())
    raise ValueError(
        f"the network has {number} classes, which no known list has ({known}); name them in a "
        "file beside it: `classes: [road, ...]`"
    )


def named_class_list(
    names: tuple[str, ...], folds: dict[str, list[str]] | None = None
) -> ClassList:
    """A list of other names: what each means is looked up in the known list that shares most names
    with it, then in the others; `folds` ({class of street: names}) goes before both."""
    plain = tuple(plain_name(name) for name in names)
    known = [load_class_list(name) for name in class_list_names()]
    known.sort(key=lambda each: len(set(each.names) & set(plain)), reverse=True)
    table: dict[str, str | None] = {}
    for each in reversed(known):
        table.update(zip(each.names, each.meanings, strict=True))
    table.update(_table(folds or {}, "folds"))
    strangers = sorted(set(_table(folds or {}, "folds")) - set(plain))
    if strangers:
        raise ValueError(
            f"folds: {strangers[0]!r} is no class of the network{_near(strangers, plain)}"
        )
    return ClassList("own", plain, _meanings(plain, table))


def _near(strangers: list[str], plain: tuple[str, ...]) -> str:
    return nearest_name(strangers[0], plain)


def _table(folds: dict[str, list[str]], where: str) -> dict[str, str | None]:
    """{class of street: names} -> {name: class of street}; ValueError where a name is twice."""
    table: dict[str, str | None] = {}
    for meaning, names in folds.items():
        for name in map(plain_name, names):
            if name in table:
                raise ValueError(f"{where}: {name!r} is folded to {table[name]} and to {meaning}")
            table[name] = meaning
    return table


def _meanings(names: tuple[str, ...], table: dict[str, str | None]) -> tuple[str | None, ...]:
    return tuple(table.get(name) for name in names)
