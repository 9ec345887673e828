"""What must be known of a 2D network beside its file: its classes, and how it wants its images.

Most of it is read from the network itself (sizes, layout, number type). The rest comes from a file
of the same name that ends in .yaml, or from config.json and preprocessor_config.json as
Hugging Face's exporter writes them; without these an ImageNet network is assumed.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from cmdfusion_ros.config import check_settings, load_yaml, setting, settings_from_dict
from cmdfusion_ros.image_teachers.class_lists import (
    ClassList,
    class_list_names,
    load_class_list,
    named_class_list,
)

_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # ImageNet's, of 0 to 255


@dataclass(frozen=True)
class TeacherSettings:
    """How a 2D network wants its images and which classes it answers."""

    class_list: str = setting("", "a known list that its classes are; empty = by their number")
    classes: tuple[str, ...] = setting((), "names of its classes, in order, where no list has them")
    input_size: tuple[int, int] = setting(
        (0, 0), "width and height of its input, where it takes any", "px", minimum=0, maximum=8192
    )
    mean: tuple[float, float, float] = setting(
        _MEAN,
        "taken from red, green and blue of 0 to 255; 8-bit networks get the bytes as they are",
    )
    std: tuple[float, float, float] = setting(_STD, "what the rest is divided by", above=0.0)
    channels: str = setting("rgb", "order of the colours it wants", choices=("rgb", "bgr"))
    output: int = setting(0, "which of its outputs has the classes", minimum=0, maximum=99)
    flip: bool = setting(
        False, "take the mean with the mirrored image: steadier, at twice the time"
    )

    def __post_init__(self) -> None:
        check_settings(self)


def read_description(path: Path) -> tuple[TeacherSettings, ClassList | None]:
    """The settings of a network file, and its classes where they are named.

    Raises:
        ValueError: a file beside it that cannot be read, or says what cannot be.
    """
    own = path.with_suffix(".yaml")
    settings, folds = _from_hugging_face(path.parent), {}
    if own.exists():
        values = dict(load_yaml(own))
        folds = values.pop("folds", {})
        if not isinstance(folds, dict) or not all(
            isinstance(each, list) for each in folds.values()
        ):
            raise ValueError(f"{own}: folds: expected a list of names for each class of street")
        given = settings_from_dict(TeacherSettings, values, where=f"{own}: ")
        settings = replace(settings, **{name: getattr(given, name) for name in values})
    if settings.classes:
        return settings, named_class_list(settings.classes, folds)
    chosen = settings.class_list or _in_file_name(path)
    if folds and chosen:
        return settings, named_class_list(load_class_list(chosen).names, folds)
    return settings, load_class_list(chosen) if chosen else None


def _in_file_name(path: Path) -> str:
    """The one list whose name the file's name holds; "" otherwise."""
    stem = path.stem.lower().replace("-", "_")
    found = [name for name in class_list_names() if name in stem]
    return found[0] if len(found) == 1 else ""


def _from_hugging_face(folder: Path) -> TeacherSettings:
    settings = TeacherSettings()
    labels = _json(folder / "config.json").get("id2label")
    if isinstance(labels, dict) and labels:
        try:
            names = tuple(str(labels[str(number)]) for number in range(len(labels)))
        except KeyError as error:
            raise ValueError(f"{folder / 'config.json'}: id2label lacks number {error}") from error
        settings = replace(settings, classes=names)
    images = _json(folder / "preprocessor_config.json")
    if images.get("do_normalize", True) and "image_mean" in images and "image_std" in images:
        mean, std = (
            tuple(255.0 * one for one in images[key]) for key in ("image_mean", "image_std")
        )
        settings = replace(settings, mean=mean, std=std)
    size = images.get("size")
    if isinstance(size, dict) and {"width", "height"} <= size.keys():
        settings = replace(settings, input_size=(size["width"], size["height"]))
    return settings


def _json(path: Path) -> dict:
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: not readable as JSON: {error}") from error
    return content if isinstance(content, dict) else {}
