"""Published weights find their way into our ResNet, whatever is written around them."""

import pytest
import torch
from safetensors.torch import save_file

from cmdfusion_ros.checkpoint.file import CheckpointError
from cmdfusion_ros.checkpoint.published import load_published_resnet
from cmdfusion_ros.models.resnet import ResNet


@pytest.fixture(scope="module")
def tensors():
    """A ResNet-18 as torchvision publishes it, with its classifier."""
    torch.manual_seed(0)
    state = {
        name: torch.rand_like(t) if t.is_floating_point() else t
        for name, t in ResNet(18).state_dict().items()
    }
    return {**state, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}


def same(resnet, tensors):
    return all(torch.equal(tensor, tensors[name]) for name, tensor in resnet.state_dict().items())


def test_a_file_of_torchvision_is_read(tensors, tmp_path):
    torch.save(tensors, tmp_path / "resnet18.pth")
    resnet = load_published_resnet(tmp_path / "resnet18.pth", stem_stride=1)
    assert same(resnet, tensors) and resnet.conv1.stride == (1, 1)


def test_so_is_the_old_kind_of_file_and_safetensors(tensors, tmp_path):
    torch.save(tensors, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(tensors, tmp_path / "new.safetensors")
    assert same(load_published_resnet(tmp_path / "old.pth"), tensors) and same(
        load_published_resnet(tmp_path / "new.safetensors"), tensors
    )


def test_a_backbone_inside_another_network_is_found(tensors, tmp_path):
    wrapped = {
        "epoch": 3,
        "model": {
            **{f"module.backbone.{name}": t for name, t in tensors.items()},
            "module.classifier.0.weight": torch.zeros(3),
        },
    }
    torch.save(wrapped, tmp_path / "fcn.pt")
    assert same(load_published_resnet(tmp_path / "fcn.pt"), tensors)


def test_wrong_files_are_named(tensors, tmp_path):
    with pytest.raises(
        FileNotFoundError, match="none.pth: no such file; published weights are not downloaded"
    ):
        load_published_resnet(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("<html>not found</html>")
    with pytest.raises(CheckpointError, match="text.pth: cannot be read as tensors alone"):
        load_published_resnet(tmp_path / "text.pth")
    (tmp_path / "short.safetensors").write_bytes(b"12345678")
    with pytest.raises(CheckpointError, match="short.safetensors: not a complete safetensors file"):
        load_published_resnet(tmp_path / "short.safetensors")
    torch.save({"layer1.0.conv1.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(
        CheckpointError,
        match=(
            r"other.pth: no ResNet of depth 18, 34, 50, 101: layer1 to layer4 have \[1, 0, 0, 0\] "
            r"blocks"
        ),
    ):
        load_published_resnet(tmp_path / "other.pth")
    torch.save(
        {name: tensor for name, tensor in tensors.items() if name != "conv1.weight"},
        tmp_path / "part.pth",
    )
    with pytest.raises(
        CheckpointError,
        match=r"part.pth: not the weights of a ResNet: 1 tensors missing \(conv1.weight\)",
    ):
        load_published_resnet(tmp_path / "part.pth")
