"""Every setting: frozen typed dataclasses with default, unit and check, and strict YAML in and out.

A settings class is a frozen dataclass whose fields are made by `setting(...)`. What can be derived
is not a setting. YAML holds only what differs from the defaults; an unknown or doubled key is an
error that names the nearest known key.
"""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Generic

import yaml

from cmdfusion_ros.strict_yaml import YamlError, read_yaml

SettingsT = typing.TypeVar("SettingsT")


def setting(
    default: Any,
    description: str,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[Any, ...] | None = None,
    above: float | None = None,
) -> Any:
    """A dataclass field with what a person must know of it.

    Args:
        default: the value used where none is given.
        description: one sentence.
        unit: "m", "s", "Hz", ...; "" where there is none.
        minimum, maximum: inclusive bounds of a number, or of every item of a tuple.
        choices: the only values allowed.
        above: exclusive lower bound.
    """
    metadata = {
        "description": description,
        "unit": unit,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "above": above,
    }
    return field(default=default, metadata=metadata)


def section(kind: type) -> Any:
    """A dataclass field that is itself a settings class, with that class's defaults."""
    return field(default_factory=kind)


class LiveSettings(Generic[SettingsT]):
    """The settings in force: handed to the parts once, which read `current` at each use.

    Attributes:
        current: frozen settings; whoever changes them puts others in their place.
    """

    def __init__(self, current: SettingsT) -> None:
        self.current = current


class SettingsError(ValueError):
    """A setting that is unknown, doubled, of the wrong type or out of bounds."""


def check_settings(settings: Any, where: str = "") -> None:
    """Raise SettingsError for the first field of `settings` that breaks its own declaration.
    Call it from __post_init__.
    """
    hints = typing.get_type_hints(type(settings))
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if dataclasses.is_dataclass(value):
            continue
        name = f"{where}{item.name}"
        check_value(name, value, hints[item.name], item.metadata)


def check_value(name: str, value: object, kind: Any, metadata: Mapping[str, Any]) -> None:
    """Raise SettingsError unless `value` has the type `kind` and keeps the bounds and choices of
    `metadata` (see `setting`).
    """
    if not _is_kind(value, kind):
        raise SettingsError(f"{name}: expected {_kind_name(kind)}, got {value!r}")
    choices = metadata.get("choices")
    if choices is not None and value not in choices:
        raise SettingsError(
            f"{name}: expected one of {', '.join(map(str, choices))}, got {value!r}"
        )
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            _check_bounds(name, number, metadata)


def _check_bounds(name, number, metadata):
    unit = f" {metadata['unit']}" if metadata.get("unit") else ""
    if number != number:
        raise SettingsError(f"{name}: expected a number, got NaN")
    if metadata.get("minimum") is not None and number < metadata["minimum"]:
        raise SettingsError(f"{name}: expected at least {metadata['minimum']}{unit}, got {number}")
    if metadata.get("maximum") is not None and number > metadata["maximum"]:
        raise SettingsError(f"{name}: expected at most {metadata['maximum']}{unit}, got {number}")
    if metadata.get("above") is not None and number <= metadata["above"]:
        raise SettingsError(f"{name}: expected more than {metadata['above']}{unit}, got {number}")


def _is_kind(value, kind):
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        return any(_is_kind(value, option) for option in typing.get_args(kind))
    if origin is tuple:
        item_kinds = typing.get_args(kind)
        if len(item_kinds) == 2 and item_kinds[1] is Ellipsis:
            return isinstance(value, tuple) and all(_is_kind(item, item_kinds[0]) for item in value)
        return (
            isinstance(value, tuple)
            and len(value) == len(item_kinds)
            and all(map(_is_kind, value, item_kinds))
        )
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _kind_name(kind):
    return getattr(kind, "__name__", str(kind)) if typing.get_origin(kind) is None else str(kind)


def settings_from_dict(kind: type[SettingsT], values: Any, where: str = "") -> SettingsT:
    """A settings object of class `kind` from plain values (as YAML or JSON gives them).

    Lists become tuples; missing keys take their defaults.

    Raises:
        SettingsError: an unknown key (the nearest known one is named), a value of the wrong type or
            out of bounds.
    """
    if not isinstance(values, dict):
        raise SettingsError(f"{where or kind.__name__}: expected a mapping, got {values!r}")
    fields = {item.name: item for item in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    given = {}
    for key, value in values.items():
        if key not in fields:
            raise SettingsError(f"{where}{key}: unknown setting{nearest_name(str(key), fields)}")
        of_each = _settings_of_each(hints[key])
        if dataclasses.is_dataclass(hints[key]):
            given[key] = settings_from_dict(hints[key], value, f"{where}{key}.")
        elif of_each and isinstance(value, list):
            given[key] = tuple(
                settings_from_dict(of_each, item, f"{where}{key}[{number}].")
                for number, item in enumerate(value)
            )
        else:
            given[key] = tuple(value) if isinstance(value, list) else value
            check_value(f"{where}{key}", given[key], hints[key], fields[key].metadata)
    return kind(**given)


def _settings_of_each(kind):
    """The settings class that a field holds a tuple of; None where it holds none."""
    item = next(iter(typing.get_args(kind)), None)
    return item if typing.get_origin(kind) is tuple and dataclasses.is_dataclass(item) else None


def settings_to_dict(settings: Any, only_changed: bool = False) -> dict[str, Any]:
    """Plain values of a settings object (tuples become lists); with `only_changed`, without
    those that equal the default.
    """
    default = type(settings)()
    values = {}
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if only_changed and value == getattr(default, item.name):
            continue
        if dataclasses.is_dataclass(value):
            value = settings_to_dict(value, only_changed)
        if isinstance(value, tuple):
            value = [
                settings_to_dict(one, only_changed) if dataclasses.is_dataclass(one) else one
                for one in value
            ]
        values[item.name] = value
    return values


def nearest_name(name: str, known: Iterable[str]) -> str:
    """ "; did you mean x?" where a known name is near, else the list of known ones: the tail of
    an error message.
    """
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"


_MOST_STRIDES = 16  # a network of thousands of blocks takes minutes to refuse


def load_yaml(path: str | Path) -> Any:
    """The content of a YAML file as plain values, in time that grows with its length.

    Raises:
        OSError: it cannot be read. SettingsError: it is no YAML, longer than 1 MB, nested more
            than 50 deep, or makes itself longer by aliases; a doubled key, with file and line.
    """
    try:
        return read_yaml(path) or {}
    except YamlError as error:
        raise SettingsError(str(error)) from error


def load_settings(kind: type[SettingsT], path: str | Path) -> SettingsT:
    """A settings object of class `kind` from a YAML file."""
    return settings_from_dict(kind, load_yaml(path), where=f"{path}: ")


def save_settings(settings: Any, path: str | Path) -> None:
    """Write the settings that differ from their defaults as YAML, so that `load_settings` gives
    an equal object.
    """
    with open(path, "w") as stream:
        yaml.safe_dump(settings_to_dict(settings, only_changed=True), stream, sort_keys=False)


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a network: what a checkpoint carries so that it can be built again."""

    network: str = setting(
        "spv_pyramid",
        "the network, a file of models/",
        choices=(
            "spv_pyramid",
            "cmdfusion",
            "flagship",
            "spv_unet",
            "unet_flagship",
            "u2mkd",
            "image",
        ),
    )
    channels: int = setting(
        32, "width of every layer of the encoder; of the stem, in U-Nets", minimum=4, maximum=1024
    )
    voxel_size: float = setting(0.1, "edge of the finest voxel", "m", above=0.0, maximum=10.0)
    strides: tuple[int, ...] = setting(
        (1, 2, 4, 8, 16),
        "scales in finest voxels; block i goes from strides[i] to strides[i + 1]",
        minimum=1,
        maximum=256,
    )

    inputs: str = setting(
        "scaled",
        "what is read of points: scaled (unit size, intensity beside its rank in the scan), or raw "
        "(metres, intensity), as the authors' released networks",
        choices=("scaled", "raw"),
    )
    widths: str = setting(
        "paper",
        "of the stages of spv_unet and unet_flagship: as in U2MKD's paper, or slim, for CPUs",
        choices=("paper", "slim"),
    )
    attention: str = setting(
        "none",
        "of U-Nets, after each stage of the encoder: none, or windows (cubes, and cones outward)",
        choices=("none", "windows"),
    )

    image_size: tuple[int, int] = setting(
        (512, 256),
        "width and height that images are resized to, where the network uses any",
        "px",
        minimum=32,
        maximum=4096,
    )
    image_focal: float = setting(
        200.0,
        "unet_flagship: focal length that images are scaled to; others take image_size",
        "px",
        minimum=16.0,
        maximum=4096.0,
    )
    image_depth: int = setting(
        18,
        "layers of the ResNet that reads images, where the network uses any",
        choices=(18, 34, 50, 101),
    )
    image_stem_stride: int = setting(
        2,
        "stride of its first convolution; 1 gives maps twice as fine at four times the cost",
        choices=(1, 2),
    )
    image_width: int = setting(
        64, "channels of its first stage; published weights have 64", minimum=8, maximum=256
    )
    image_trust: str = setting(
        "full",
        "flagship: how far image features take the place of the guess where a camera sees; "
        "learned = as a gate says",
        choices=("full", "learned"),
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if (
            len(self.strides) < 2
            or self.strides[0] != 1
            or any(b < a or b % a for a, b in pairwise(self.strides))
        ):
            raise SettingsError(
                "strides: expected to start at 1, each a multiple of the one before, got "
                f"{self.strides!r:.200}"
            )
        if len(self.strides) > _MOST_STRIDES:
            raise SettingsError(
                f"strides: expected at most {_MOST_STRIDES}, got {len(self.strides)}"
            )
        if self.image_trust != "full" and self.network != "flagship":
            raise SettingsError(
                f"image_trust: expected full for network {self.network}, got {self.image_trust}; "
                "flagship alone has a gate for it"
            )
        if self.widths != "paper" and self.network not in ("spv_unet", "unet_flagship"):
            raise SettingsError(
                f"widths: expected paper for network {self.network}, got {self.widths}; "
                "spv_unet and unet_flagship can have others"
            )
        if self.attention != "none" and self.network not in ("spv_unet", "u2mkd"):
            raise SettingsError(
                f"attention: expected none for network {self.network}, got {self.attention}; "
                "spv_unet and u2mkd can have it"
            )
        if self.attention != "none" and self.channels % 2:
            raise SettingsError(
                "channels: expected an even number for attention, whose heads come in pairs, got "
                f"{self.channels}"
            )
        if self.network == "unet_flagship" and self.inputs != "scaled":
            raise SettingsError("inputs: unet_flagship reads scaled ones; leave it out")
        if self.network in ("spv_unet", "unet_flagship", "u2mkd") and self.strides != (
            1,
            2,
            4,
            8,
            16,
        ):
            raise SettingsError(
                f"strides: {self.network} has the strides (1, 2, 4, 8, 16), got {self.strides}; "
                "change voxel_size instead"
            )
