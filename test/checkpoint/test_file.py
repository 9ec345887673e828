"""Checkpoints: what is saved comes back, and what is no checkpoint is refused with a reason."""

import json
import pickle

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.checkpoint.file import (
    Checkpoint,
    CheckpointError,
    load_checkpoint,
    replace_card,
    save_checkpoint,
)
from cmdfusion_ros.checkpoint.temperatures import Temperatures
from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.models import build_network, grid_of

CONFIG = ModelConfig(channels=4, voxel_size=0.5, strides=(1, 2, 4))
STREET = load_class_map("street")
CARD = {"trained_on": ["pandaset/002/000000"], "metrics": {"miou": 0.5}, "licence": "CC BY 4.0"}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build_network(CONFIG, STREET.num_classes).eval()


@pytest.fixture
def path(network, tmp_path):
    save_checkpoint(tmp_path / "net.safetensors", network, CONFIG, STREET, CARD)
    return tmp_path / "net.safetensors"


def resave(path, change_weights=dict, change_metadata=dict):
    """Write the checkpoint again with changes."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file(change_weights(load_file(path)), path, change_metadata(metadata))


def test_everything_comes_back(path, network):
    checkpoint = load_checkpoint(path)
    assert (
        checkpoint.model_config == CONFIG
        and checkpoint.class_map == STREET
        and checkpoint.card == CARD
    )
    assert {name: tensor.tolist() for name, tensor in checkpoint.weights.items()} == {
        name: x.tolist() for name, x in network.state_dict().items()
    }


def test_the_loaded_network_gives_the_same_logits(path, network):
    rng = np.random.default_rng(0)
    batch = make_batch(
        [Frame(rng.normal(0, 3, (200, 3)).astype(np.float32), np.zeros(200, np.float32))],
        grid_of(CONFIG),
    )
    with torch.no_grad():
        assert torch.equal(
            load_checkpoint(path).build_network()(batch).logits, network(batch).logits
        )


def test_a_built_network_is_in_evaluation_mode_and_can_be_trained_on(path):
    network = load_checkpoint(path).build_network()
    assert not network.training and all(p.requires_grad for p in network.parameters())
    assert {p.device.type for p in network.state_dict().values()} == {"cpu"}


def test_training_a_built_network_leaves_the_checkpoint_alone(path):
    checkpoint = load_checkpoint(path)
    before = checkpoint.weights["head.logits.bias"].clone()
    with torch.no_grad():
        checkpoint.build_network().head.logits.bias.add_(1)
    assert torch.equal(checkpoint.weights["head.logits.bias"], before)


def test_building_draws_no_random_numbers(path):
    checkpoint, state = load_checkpoint(path), torch.random.get_rng_state()
    checkpoint.build_network()
    assert torch.equal(torch.random.get_rng_state(), state)


def test_saving_again_replaces_the_file_and_leaves_nothing_else(path, network):
    save_checkpoint(path, network, CONFIG, STREET, {"trained_on": []})
    assert load_checkpoint(path).card == {"trained_on": []} and list(path.parent.iterdir()) == [
        path
    ]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.safetensors: no such file"):
        load_checkpoint(tmp_path / "nothing.safetensors")


class Bomb:
    """Fails the test if it is ever unpickled."""

    def __reduce__(self):
        return pytest.fail, ("a checkpoint was unpickled",)


def test_a_pickle_is_refused_and_never_opened(tmp_path):
    path = tmp_path / "net.pt"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(
        CheckpointError,
        match="net.pt: not a complete safetensors file .* are pickles and are not read",
    ):
        load_checkpoint(path)


def test_a_truncated_file_is_refused(path):
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="not a complete safetensors file"):
        load_checkpoint(path)


def test_someone_elses_safetensors_file_is_refused(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(
        CheckpointError,
        match=(
            "not a checkpoint of cmdfusion_ros: metadata lacks format_version, model_config, "
            "class_map, card"
        ),
    ):
        load_checkpoint(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("format_version", "9", "expected checkpoint format 1, got 9; update cmdfusion_ros"),
        ("card", "{", "metadata is broken"),
        (
            "model_config",
            json.dumps({"chanels": 3}),
            "metadata is broken: model_config.chanels: unknown setting; did you mean 'channels'",
        ),
        ("class_map", json.dumps({"name": "x"}), "metadata is broken: 'classes'"),
    ],
)
def test_broken_metadata_is_refused(path, key, value, message):
    resave(path, change_metadata=lambda metadata: {**metadata, key: value})
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)


def test_missing_extra_and_misshapen_tensors_are_named(path):
    def change(weights):
        weights["extra"] = torch.zeros(1)
        weights["head.hidden.bias"] = torch.zeros(3)
        del weights["head.logits.bias"]
        return weights

    resave(path, change_weights=change)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path).build_network()
    assert "network spv_pyramid with 12 classes (street)" in str(error.value)
    assert "misses tensors: head.logits.bias" in str(error.value)
    assert "has unknown tensors: extra" in str(error.value)
    assert "has wrong shapes: head.hidden.bias (3,) instead of (128,)" in str(error.value)


def test_weights_for_other_classes_are_refused(network):
    checkpoint = Checkpoint(network.state_dict(), CONFIG, load_class_map("semantic_kitti"))
    with pytest.raises(
        CheckpointError,
        match=(
            r"19 classes \(semantic_kitti\): has wrong shapes: head.logits.weight \(12, 128\) "
            r"instead of \(19, 128\)"
        ),
    ):
        checkpoint.build_network()


def test_a_halved_file_is_half_as_large_and_says_nearly_the_same(network, path, tmp_path):
    half = tmp_path / "half.safetensors"
    save_checkpoint(half, network, CONFIG, STREET, CARD, halved=True)
    stored, read = load_file(half), load_checkpoint(half)
    matrices = [name for name, tensor in stored.items() if tensor.ndim > 1]
    assert all((stored[name].dtype == torch.float16) == (name in matrices) for name in stored)
    assert all(tensor.dtype != torch.float16 for tensor in read.weights.values())
    for name, tensor in load_checkpoint(path).weights.items():
        assert torch.allclose(read.weights[name], tensor, rtol=1e-3, atol=1e-7)
    replace_card(half, {"licence": "none"})  # stays as small
    assert load_file(half)[matrices[0]].dtype == torch.float16


def test_a_file_that_says_nothing_of_its_inputs_is_read_as_raw(path):
    """Files from before inputs were brought to unit size."""

    def without_inputs(metadata):
        config = json.loads(metadata["model_config"])
        del config["inputs"]
        return {**metadata, "model_config": json.dumps(config)}

    resave(path, change_metadata=without_inputs)
    assert load_checkpoint(path).model_config.inputs == "raw"


TEMPERATURES = Temperatures((5.0, 15.0), (1.5, 0.8))


def test_temperatures_come_back_and_stay_with_another_card(path):
    assert load_checkpoint(path).temperatures is None  # a checkpoint from before there were any
    before = path.read_bytes()
    replace_card(
        path, {"calibration": {}}, TEMPERATURES, out=path.with_name("calibrated.safetensors")
    )
    assert path.read_bytes() == before
    calibrated = load_checkpoint(path.with_name("calibrated.safetensors"))
    assert calibrated.temperatures == TEMPERATURES and calibrated.card == {"calibration": {}}
    assert all(
        torch.equal(tensor, calibrated.weights[name])
        for name, tensor in load_checkpoint(path).weights.items()
    )
    replace_card(calibrated.source, CARD)
    assert load_checkpoint(calibrated.source).temperatures == TEMPERATURES
    replace_card(calibrated.source, CARD, Temperatures((5.0,), (2.0,)))
    assert load_checkpoint(calibrated.source).temperatures == Temperatures((5.0,), (2.0,))


@pytest.mark.parametrize(
    "value, message",
    [
        ("[1.5]", r"expected lists of distances and values, got \[1.5\]; fit them again"),
        ('{"distances": [5], "values": 1}', "expected lists of distances and values"),
        ('{"distances": [5]}', "expected lists of distances and values"),
        (
            '{"distances": [5], "values": [1, 1]}',
            "expected one at each distance, got 2 at 1 distances",
        ),
        ('{"distances": [], "values": []}', "expected one at each distance, got 0 at 0 distances"),
        ('{"distances": [5], "values": [0]}', r"expected values of 0.05 to 20.0, got \(0,\)"),
        ('{"distances": [5], "values": [-1]}', "expected values of 0.05 to 20.0"),
        ('{"distances": [5], "values": [NaN]}', "expected finite numbers, got nan"),
        ('{"distances": [5], "values": ["1"]}', "expected finite numbers, got '1'"),
        (
            '{"distances": [5, 5], "values": [1, 1]}',
            "expected rising distances in metres, none below 0",
        ),
        ("{", "metadata is broken"),
    ],
)
def test_temperatures_that_can_be_none_are_refused(path, value, message):
    resave(path, change_metadata=lambda metadata: {**metadata, "temperatures": value})
    with pytest.raises(
        CheckpointError, match=f"metadata is broken: .*{message}" if value != "{" else message
    ):
        load_checkpoint(path)


def test_a_card_must_be_plain_json(network, tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_checkpoint(
            tmp_path / "net.safetensors", network, CONFIG, STREET, {"miou": float("nan")}
        )
    assert list(tmp_path.iterdir()) == []
