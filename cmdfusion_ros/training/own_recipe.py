"""A recipe for one's own labelled scans, written from what lies in their folder: fine-tuning of the
weights that ship, or of others, or the same from nothing (docs/own_data.md).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cmdfusion_ros.checkpoint.file import load_checkpoint
from cmdfusion_ros.class_map import ClassMap, load_class_map
from cmdfusion_ros.config import settings_to_dict
from cmdfusion_ros.data.readers.data_settings import all_sequences
from cmdfusion_ros.data.readers.semantic_kitti import SemanticKitti
from cmdfusion_ros.inference import default_checkpoint_path
from cmdfusion_ros.training.provenance import OWN
from cmdfusion_ros.training.recipe import SHIPPED

KEPT_BACK = 5  # one scan in so many validates
_FEW = 4  # of as many sequences or more, whole ones validate

_TEXT = """\
# {what} on your own labelled scans; `cmdfusion train --data DIR --classes FILE`
# writes such a file and trains it. docs/own_data.md tells the whole way.
name: own
class_map: {class_map}  # your classes: names, ids, colours
{start}# DIR/sequences/*/velodyne/*.bin, labels/*.label; `dataset`: whose raw ids the labels hold
train: {train}
{train_too}validation: {validation}  # later scans or other sequences: neighbours flatter
augment: {{sector: 90.0, yaw: 180.0, flip: 0.5, scale: 0.05, shift_z: [-0.2, 0.2], tilt: 1.0,
  point_dropout: 0.2, intensity_dropout: 0.1, intensity_gain: 1.3, intensity_gamma: 1.3}}
steps: {steps}
batch_size: 2
learning_rate: {rate}
warm_up: 0.1
class_weight_power: 0.3
save_every: 50
"""
_PARTLY = "start_partly: true  # your classes may be others; the log says what was taken\n"
_FROZEN = "frozen: [images]  # no images here: that part stays as it is\n"
STEPS = 400
NOTHING = "nothing"  # as `start`


def own_recipe(
    data_folder: str | Path, classes: str | Path, dataset: str = "", start: str = SHIPPED
) -> str:
    """The text of a recipe.

    Args:
        data_folder: holds sequences in SemanticKITTI's layout.
        classes: file or name of a class map.
        dataset: whose raw ids the labels hold; empty = the class map's own.
        start: what training starts from, as of `recipe_text`.

    Of four sequences or more whole ones validate, the last; of fewer the last fifth of the longest,
    with as many scans again left out between as make a twentieth, one at least.

    Raises:
        ValueError: the class map is wrong or does not read `dataset`; too few scans.
        FileNotFoundError: no sequence in the folder; no checkpoint to start from.
    """
    class_map = load_class_map(classes)
    dataset = dataset or class_map.name
    if dataset not in class_map.datasets:
        raise ValueError(
            f"--dataset: class map {class_map.name} reads {', '.join(class_map.datasets)}, not "
            f"{dataset!r}"
        )
    names = all_sequences(Path(data_folder), "semantic_kitti")
    numbers = {name: _scan_numbers(data_folder, name, class_map, dataset) for name in names}
    images = all(_has_images(data_folder, name) for name in names)
    common = {"dataset": dataset, "called": OWN, **({"images": True} if images else {})}
    if not all(len(found) == _count(data_folder, name) for name, found in numbers.items()):
        common["partly"] = True
    names = tuple(name for name in names if numbers[name])
    total = sum(map(len, numbers.values()))
    if total < KEPT_BACK:
        raise ValueError(
            f"{data_folder}: expected {KEPT_BACK} labelled scans or more, so that one of them can "
            f"validate, got {total}"
        )
    if len(names) >= _FEW:
        held, kept = [], 0
        while kept < total / KEPT_BACK:
            held.insert(0, names[len(names) - 1 - len(held)])
            kept += len(numbers[held[0]])
        train = [{"sequences": [name for name in names if name not in held], **common}]
        validation = {"sequences": held, **common}
    else:
        longest = max(names, key=lambda name: len(numbers[name]))
        scans = numbers[longest]
        first = scans[-max(1, len(scans) // KEPT_BACK)]
        before = [number for number in scans if number < first]
        last = before[-1 - max(1, len(scans) // 20)] if len(before) > 1 else before[-1]
        others = [name for name in names if name != longest]
        train = [{"sequences": [longest], "last_scan": last, **common}]
        train += [{"sequences": others, **common}] if others else []
        validation = {"sequences": [longest], "first_scan": first, **common}
    path = str(classes)
    own_file = path.endswith((".yaml", ".yml"))
    own_map = str(Path(path).resolve()) if own_file else path
    return recipe_text(own_map, train, validation, start)


def recipe_text(
    class_map: str,
    train: Sequence[Mapping[str, Any]],
    validation: Mapping[str, Any],
    start: str = SHIPPED,
) -> str:
    """The text of a recipe with this class map, these sets to train on and this one to score.

    `start` is what training starts from: "shipped", the file of a checkpoint, or "nothing", which
    trains the network that ships from random weights, at the higher rate that these want.
    """
    lines, looks = "", False
    if start == SHIPPED:
        lines, looks = "start_from: shipped  # or the file of a checkpoint, and its `model`\n", True
    elif start == NOTHING:
        lines = _model_line(load_checkpoint(default_checkpoint_path()))
    else:
        checkpoint = load_checkpoint(start)
        lines = f"start_from: {_flow([str(Path(start).resolve())])[1:-1]}\n"
        lines += _model_line(checkpoint)
        looks = any(name.startswith("images.") for name in checkpoint.weights)
    if start != NOTHING:
        lines += _PARTLY
    if looks and not any(data.get("images") for data in train):
        lines += _FROZEN
    return _TEXT.format(
        what="Training from nothing" if start == NOTHING else "Fine-tuning",
        class_map=class_map,
        start=lines,
        rate=0.003 if start == NOTHING else 0.001,
        train=_flow(train[0]),
        train_too=f"train_too: {_flow(train[1:])}\n" if train[1:] else "",
        validation=_flow(validation),
        steps=STEPS,
    )


def _scan_numbers(data_folder, sequence, class_map: ClassMap, dataset):
    """Numbers of the labelled scans of a sequence."""
    options = {"poses": False, "labels": False, "partly": True}
    try:
        scans = SemanticKitti(data_folder, [sequence], class_map, dataset, **options)
    except ValueError:  # none is labelled yet
        return []
    return sorted(int(name.rpartition("/")[2]) for name in scans.names)


def _count(data_folder, sequence):
    """How many scans a sequence has, labelled or not."""
    root = Path(data_folder)
    folders = (root / "sequences" / sequence, root / sequence)
    return len(list(next(f for f in folders if f.is_dir()).glob("velodyne/*.bin")))


def _has_images(data_folder, sequence):
    root = Path(data_folder)
    folders = (root / "sequences" / sequence / "image_2", root / sequence / "image_2")
    return any(folder.is_dir() and any(folder.iterdir()) for folder in folders)


def _model_line(checkpoint):
    return f"model: {_flow(settings_to_dict(checkpoint.model_config, only_changed=True))}\n"


def _flow(values):
    return yaml.safe_dump(values, default_flow_style=True, sort_keys=False, width=10_000).strip()
