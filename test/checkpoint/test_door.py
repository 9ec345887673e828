"""The door for checkpoints: what is no regular file, of a wrong type, or no number is refused by
name, before a kernel sees it.
"""

import dataclasses
import json
import os
import struct

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from cmdfusion_ros.checkpoint.door import (
    CheckpointError,
    read_regular_file,
    safetensors_metadata,
    sha256_of,
)
from cmdfusion_ros.checkpoint.file import is_checkpoint, load_checkpoint, save_checkpoint
from cmdfusion_ros.class_map import ClassMap, load_class_map
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.models import build_network

CONFIG = ModelConfig(channels=4, voxel_size=0.5, strides=(1, 2, 4))
STREET = load_class_map("street")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("door") / "net.safetensors"
    torch.manual_seed(0)
    save_checkpoint(path, build_network(CONFIG, STREET.num_classes), CONFIG, STREET, {})
    return path


@pytest.fixture
def changed(original, tmp_path):
    """changed(weights function, metadata function) -> the path of a changed copy."""

    def write(change_weights=dict, change_metadata=dict):
        with safe_open(original, framework="pt") as file:
            metadata = file.metadata()
        path = tmp_path / "changed.safetensors"
        save_file(change_weights(load_file(original)), path, change_metadata(metadata))
        return path

    return write


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.int32, torch.bool]
)
def test_every_tensor_of_another_type_is_refused_by_name(original, dtype):
    checkpoint = load_checkpoint(original)
    for name in list(checkpoint.weights)[::9]:
        weights = {**checkpoint.weights, name: checkpoint.weights[name].to(dtype)}
        with pytest.raises(CheckpointError, match=f"has wrong types: {name} "):
            dataclasses.replace(checkpoint, weights=weights).build_network()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused_by_name(changed, value):
    def spoil(weights):
        weights["head.logits.bias"][3] = value
        return weights

    with pytest.raises(CheckpointError, match="NaN or infinity in: head.logits.bias"):
        load_checkpoint(changed(spoil)).build_network()


def test_a_variance_below_zero_is_refused(changed):
    def spoil(weights):
        name = next(name for name in weights if name.endswith("running_var"))
        weights[name][0] = -1.0
        return weights

    with pytest.raises(CheckpointError, match="variances below 0 in: .*running_var"):
        load_checkpoint(changed(spoil)).build_network()


def test_a_pipe_a_folder_and_a_device_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # nobody writes to it: opening it plainly would wait for ever
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(CheckpointError, match="expected a regular file"):
            load_checkpoint(path)
        assert not is_checkpoint(path)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    with open(tmp_path / "huge", "wb") as stream:
        stream.truncate(1 << 40)  # sparse: takes no room
    with pytest.raises(CheckpointError, match="expected a file of at most"):
        read_regular_file(tmp_path / "huge")


def test_the_hash_is_of_the_very_bytes_that_are_used(original):
    assert load_checkpoint(original).sha256 == sha256_of(original.read_bytes())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        struct.pack("<Q", 1 << 62) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 4) + b"\xff\xfe\x00\x01",
        struct.pack("<Q", 200_000) + b"[" * 200_000,
        struct.pack("<Q", 20) + b'{"__metadata__":[1]}',
        struct.pack("<Q", 24) + b'{"__metadata__":{"a":1}}',
    ],
)
def test_a_header_that_is_none_is_a_declared_error(content, tmp_path):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(CheckpointError):
        safetensors_metadata(content, tmp_path / "x")
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "x")


@pytest.mark.parametrize("key", ["model_config", "class_map", "card", "temperatures"])
@pytest.mark.parametrize(
    "value",
    ["", "null", "[]", "3", '"x"', "NaN", "{", "[" * 100_000, '{"classes": 3}', '{"folds": []}'],
)
def test_odd_metadata_are_declared_errors(changed, key, value):
    path = changed(change_metadata=lambda metadata: {**metadata, key: value})
    try:
        load_checkpoint(path)
    except CheckpointError as error:
        assert str(path) in str(error)
    else:
        assert key == "card" and isinstance(json.loads(value), dict)


@pytest.mark.parametrize(
    ("what", "value", "message"),
    [
        ("raw", 70_000, "raw id that is a whole number of 0 to 65535, got 70000"),
        ("raw", -1, "got -1"),
        ("raw", 1.5, "got 1.5"),
        ("raw", True, "got True"),
        ("color", [1, 2], "colour of three whole numbers"),
        ("color", [1, 2, 300], "colour of three whole numbers"),
        ("color", "red", "colour of three whole numbers"),
        ("name", "", "names of 1 to 100 letters"),
        ("name", "x" * 1000, "names of 1 to 100 letters"),
        ("name", 3, "names of 1 to 100 letters"),
    ],
)
def test_a_class_that_cannot_be_published_is_refused(what, value, message):
    values = STREET.to_dict()
    values["classes"][0] = {**values["classes"][0], what: value}
    with pytest.raises(ValueError, match=message):
        ClassMap.from_dict(values)


def test_ids_beyond_16_bits_are_refused_for_ignore_and_in_tables_too():
    with pytest.raises(ValueError, match="ignore_raw: .*got 70000"):
        ClassMap.from_dict({**STREET.to_dict(), "ignore_raw": 70_000})
    with pytest.raises(ValueError, match="got 70000"):
        ClassMap.from_dict({**STREET.to_dict(), "folds": {"kitti": {"70000": "road"}}})
