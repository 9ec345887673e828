"""The classes that are published: those of the network, or a coarser map onto which they fold,
in the user's colours if wanted.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from cmdfusion_ros.class_map import ClassMap, load_class_map
from cmdfusion_ros.config import SettingsError, load_yaml, nearest_name
from cmdfusion_ros.frame import IGNORE_LABEL, Prediction
from cmdfusion_ros.labelling.beside_people import NAMES, labels_of_people
from cmdfusion_ros.labelling.settings import NodeSettings


@dataclass(frozen=True)
class Taxonomy:
    """The published ClassMap, and `table` (256,) uint8: label of the network -> label of
    that map.
    """

    class_map: ClassMap
    table: np.ndarray

    def translate(self, prediction: Prediction) -> Prediction:
        """A Prediction in labels of the published map. A class that has no place in it becomes
        IGNORE_LABEL with confidence 0.
        """
        labels = self.table[prediction.labels]
        confidence = np.where(labels == IGNORE_LABEL, np.float32(0), prediction.confidence)
        return Prediction(labels, confidence, prediction.camera_mask)

    def check(self, settings: NodeSettings) -> None:
        """Raise SettingsError where NodeSettings name a class that is not published, or a layout
        that cannot hold the raw ids.
        """
        largest = max(info.raw for info in self.class_map.classes)
        if settings.output.layout == "autoware" and largest > 255:
            raise SettingsError(
                "output.layout: autoware has raw ids up to 255 (class_id is UINT8), "
                f"{self.class_map.name} up to {largest}; take full"
            )
        for part in ("filter", "scan"):
            for name in getattr(settings, part).classes:
                if name not in self.class_map.names:
                    raise SettingsError(
                        f"{part}.classes: no class {name!r} in "
                        f"{self.class_map.name}{nearest_name(name, self.class_map.names)}"
                    )

    def doubt(self, settings: NodeSettings) -> str:
        """What NodeSettings ask for that a person may not expect; "" = nothing."""
        if not settings.filter.classes or labels_of_people(self.class_map).any():
            return ""
        return (
            f"filter.classes: no class of {self.class_map.name} is called one of "
            f"{', '.join(NAMES)}: what is taken out beside people does not stay for them"
        )


def open_taxonomy(model_map: ClassMap, name: str = "model", palette_file: str = "") -> Taxonomy:
    """The Taxonomy called `name` for a network with the ClassMap `model_map`.

    Raises:
        SettingsError: no such class map, one onto which the network's classes do not fold, or a
            palette with unknown classes.
    """
    if name in ("model", model_map.name):
        class_map, table = model_map, np.arange(256, dtype=np.uint8)
    else:
        try:
            class_map = load_class_map(name)
            table = np.full(256, IGNORE_LABEL, np.uint8)
            raw = model_map.raw_from_labels(np.arange(model_map.num_classes))
            table[: model_map.num_classes] = class_map.labels_from_raw(raw, model_map.name)
        except ValueError as error:
            raise SettingsError(
                f"output.taxonomy: the network speaks {model_map.name}: {error}"
            ) from error
    return Taxonomy(_recoloured(class_map, palette_file), table)


def _recoloured(class_map: ClassMap, palette_file: str) -> ClassMap:
    if not palette_file:
        return class_map
    try:
        palette = load_yaml(palette_file)
    except OSError as error:
        raise SettingsError(f"output.palette_file: {error}") from error
    if not isinstance(palette, dict):
        raise SettingsError(
            f"output.palette_file: {palette_file}: expected class names with their colours, got "
            f"{palette!r:.80}"
        )
    for name, color in palette.items():
        if name not in class_map.names:
            raise SettingsError(
                f"output.palette_file: {palette_file}: no class {name!r} in "
                f"{class_map.name}{nearest_name(str(name), class_map.names)}"
            )
        if not (
            isinstance(color, list)
            and len(color) == 3
            and all(type(c) is int and 0 <= c <= 255 for c in color)
        ):
            raise SettingsError(
                f"output.palette_file: {palette_file}: {name}: expected [red, green, blue] of 0 "
                f"to 255, got {color!r}"
            )
    classes = tuple(
        dataclasses.replace(info, color=tuple(palette.get(info.name, info.color)))
        for info in class_map.classes
    )
    return dataclasses.replace(class_map, classes=classes)
