"""The doors for files: weights, tables, settings, class maps, calibrations."""

import gzip
import io
import json
import pickle
import tempfile
import zipfile
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import torch
import yaml
from fuzz.door import Door
from fuzz.mutate import YAML_WORDS, as_json, as_yaml, mutate_bytes, mutate_tree

from cmdfusion_ros.checkpoint.file import is_checkpoint, load_checkpoint, save_checkpoint
from cmdfusion_ros.checkpoint.pickled import PickledTensor, PickleError, read_pickled
from cmdfusion_ros.class_map import ClassMap, load_class_map
from cmdfusion_ros.config import (
    ModelConfig,
    SettingsError,
    load_settings,
    load_yaml,
)
from cmdfusion_ros.data.readers.pickled_table import read_pickled_table
from cmdfusion_ros.labelling.settings import node_settings
from cmdfusion_ros.labelling.taxonomy import open_taxonomy
from cmdfusion_ros.messages.camera_info import read_calibration_file
from cmdfusion_ros.models import build_network
from cmdfusion_ros.training.recipe import Recipe


def with_words(words):
    """mutate_bytes that knows what a format likes to read."""
    return partial(_with_words, words)


def _with_words(words, data, random):
    return mutate_bytes(data, random, words)


def written(data, folder, name):
    path = folder / name
    path.write_bytes(data)
    return path


# ---- weights


def take_checkpoint(data, folder):
    path = written(data, folder, "network.safetensors")
    is_checkpoint(path)
    load_checkpoint(path).build_network()


def checkpoint_seeds():
    config, street = (
        ModelConfig(channels=4, voxel_size=0.5, strides=(1, 2)),
        load_class_map("street"),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.safetensors"
        found = []
        for halved in (False, True):
            torch.manual_seed(0)
            network = build_network(config, street.num_classes)
            save_checkpoint(path, network, config, street, {"licence": "none"}, halved)
            found.append(path.read_bytes())
    return found


def mutate_checkpoint(data: bytes, random: Random) -> bytes:
    """Its header, which is JSON with JSON in it, changed at one place; or any bytes."""
    try:
        length = int.from_bytes(data[:8], "little")
        header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
        metadata = header.get("__metadata__", {})
        what = random.randrange(4)
        if what == 0:
            return data[: 8 + length] + mutate_bytes(body, random)
        if what == 1 and metadata:
            key = random.choice(list(metadata))
            metadata[key] = json.dumps(mutate_tree(json.loads(metadata[key]), random))
        elif what == 2:
            header = json.loads(as_json()(json.dumps(header).encode(), random))
        else:
            return mutate_bytes(data, random)
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + body
    except (ValueError, AttributeError, TypeError, RecursionError):
        return mutate_bytes(data, random)


def take_pickled(data, folder):
    content, _ = read_pickled(written(data, folder, "file.pt"))
    waiting, seen = [content], 0
    while waiting and seen < 100:
        item, seen = waiting.pop(), seen + 1
        if isinstance(item, PickledTensor):
            item.load()
        elif isinstance(item, dict):
            waiting += list(item.values())
        elif isinstance(item, (list, tuple)):
            waiting += list(item)


def pickled_seeds():
    stream = io.BytesIO()
    torch.save({"state_dict": {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.ones(2)}}, stream)
    return [stream.getvalue()]


PICKLE_WORDS = tuple(bytes([code]) for code in range(256)) + (
    b"cos\nsystem\n", b"cbuiltins\neval\n", b"ccollections\nOrderedDict\n", b"\x81", b"R", b"b",
    b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n", b"K\x00", b"\x8a\x08",
)  # fmt: skip


def mutate_pickled(data: bytes, random: Random) -> bytes:
    """The pickle inside of the archive changed, or the archive's bytes."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except Exception:  # what a damaged archive raises is many things
        return mutate_bytes(data, random)
    if random.random() < 0.3 or not members:
        return mutate_bytes(data, random)
    name = next((name for name in members if name.endswith("data.pkl")), random.choice([*members]))
    members[name] = mutate_bytes(members[name], random, PICKLE_WORDS)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return stream.getvalue()


def take_table(data, folder):
    read_pickled_table(written(data, folder, "table.pkl.gz"))


def table_seeds():
    from pandas import DataFrame

    table = DataFrame({"x": np.arange(3.0), "i": np.arange(3), "d": np.arange(3.0)})
    old = pickle.dumps(table, protocol=2)
    return [gzip.compress(content, 1, mtime=0) for content in (pickle.dumps(table), old)]


def mutate_table(data: bytes, random: Random) -> bytes:
    try:
        content = gzip.decompress(data)
    except Exception:
        return mutate_bytes(data, random)
    if random.random() < 0.1:
        return mutate_bytes(data, random)
    return gzip.compress(mutate_bytes(content, random, PICKLE_WORDS), 1, mtime=0)


# ---- settings


def take_yaml(data, folder):
    load_yaml(written(data, folder, "file.yaml"))


def yaml_seeds():
    return [
        b"a: &x [1, 2.5, null]\nb: *x\n? c\n: {d: 'e', f: \"\\n\"}\ng: |\n  text\nh: 2020-01-01\n",
        b"base: &b {x: 1}\nmore:\n  <<: *b\n  y: 0x1F\n  z: !!binary aGk=\n",
    ]


def take_class_map(data, folder):
    values = load_yaml(written(data, folder, "map.yaml"))
    class_map = ClassMap.from_dict(values)
    assert class_map.num_classes == len(class_map.colors)
    ClassMap.from_dict(json.loads(json.dumps(class_map.to_dict())))


def class_map_seeds():
    small = load_class_map("street").to_dict()
    small["classes"] = small["classes"][:3]
    known = {item["name"] for item in small["classes"]}
    small["folds"] = {
        name: {raw: each for raw, each in list(table.items())[:8] if each is None or each in known}
        for name, table in list(small["folds"].items())[:2]
    }
    return [yaml.safe_dump(small, sort_keys=False).encode()]


def take_palette(data, folder):
    open_taxonomy(load_class_map("street"), "model", str(written(data, folder, "palette.yaml")))


def take_settings(data, folder):
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(values, dict):
        node_settings(values)


def settings_seeds():
    return [
        json.dumps(values).encode()
        for values in (
            {"cameras": ["front", "left"], "front.transport": "compressed", "sync.max_wait": 0.1},
            {"sync": {"max_wait": 0.1, "overload": "queue"}, "points": {"max_range": 80.0}},
            {"cameras": ["c"], "c": {"time_offset": 0.01}, "filter": {"classes": ["car", ""]}},
            {"output": {"layout": "append"}, "filter.ego_box": [0.0] * 6, "use_sim_time": True},
        )
    ]


def settings_words():
    from cmdfusion_ros.labelling.settings import camera_parameters, node_parameters

    return [p.name for p in (*node_parameters(), *camera_parameters("front"))]


def take_recipe(data, folder):
    load_settings(Recipe, written(data, folder, "recipe.yaml"))


def recipe_seeds():
    data = {"layout": "street", "dataset": "street", "sequences": ["kitti/0000"]}
    few = {
        "name": "x", "steps": 10, "batch_size": 2, "parts": 2, "frozen": ["head"],
        "model": {"network": "unet_flagship", "strides": [1, 2, 4], "image_size": [64, 32]},
        "train": data, "train_too": [{**data, "repeat": 2}], "augment": {"flip": True},
        "distill": [{"match": "voxel"}], "view": {"kind": "sweeps"},
    }  # fmt: skip
    return [yaml.safe_dump(few, sort_keys=False).encode(), b"model: {channels: 8}\n"]


def take_calibration(data, folder):
    path = written(data, folder, "camera.yaml")
    for rectified in (False, True):
        read_calibration_file(path, rectified)


def calibration_seeds():
    def matrix(rows, columns, values):
        return {"rows": rows, "cols": columns, "data": [float(value) for value in values]}

    values = {
        "image_width": 64,
        "image_height": 48,
        "camera_name": "front",
        "camera_matrix": matrix(3, 3, [40, 0, 31.5, 0, 40, 23.5, 0, 0, 1]),
        "distortion_model": "plumb_bob",
        "distortion_coefficients": matrix(1, 5, [0.1, 0, 0, 0, 0]),
        "rectification_matrix": matrix(3, 3, np.eye(3).reshape(-1)),
        "projection_matrix": matrix(3, 4, [40, 0, 31.5, 0, 0, 40, 23.5, 0, 0, 0, 1, 0]),
        "camera_from_lidar": matrix(4, 4, np.eye(4).reshape(-1)),
    }
    return [yaml.safe_dump(values).encode()]


_OF_FILES = (ValueError, OSError)

FILE_DOORS = [
    Door("checkpoint", take_checkpoint, _OF_FILES, checkpoint_seeds, mutate_checkpoint, 0.7),
    Door("pickled", take_pickled, (PickleError, OSError), pickled_seeds, mutate_pickled, 1.5),
    Door("table", take_table, (ValueError,), table_seeds, mutate_table),
    Door("yaml", take_yaml, (SettingsError,), yaml_seeds, with_words(YAML_WORDS), 2.0),
    Door("class_map", take_class_map, (ValueError,), class_map_seeds, as_yaml(), 0.7),
    Door("palette", take_palette, (SettingsError,), lambda: [b"car: [1, 2, 3]\n"], as_yaml()),
    Door("settings", take_settings, (SettingsError,), settings_seeds,
         as_json(words=settings_words()), 2.0),
    Door("recipe", take_recipe, (SettingsError,), recipe_seeds, as_yaml(), 0.4),
    Door("calibration", take_calibration, (ValueError,), calibration_seeds, as_yaml(), 0.7),
]  # fmt: skip
