"""The image network: published weights would load into it, its maps have the sizes they should,
and pixels keep their places.
"""

from collections import Counter

import pytest
import torch
from builders.small_scans import without_gradient
from torch.nn.functional import conv2d

from cmdfusion_ros.models.image_encoder import ImageEncoder, PyramidPooling
from cmdfusion_ros.models.resnet import BasicBlock, ResNet

# Parameters of torchvision's networks (its model cards) less those of `fc`.
PARAMETERS = {
    18: 11_689_512 - 513_000,
    34: 21_797_672 - 513_000,
    50: 25_557_032 - 2_049_000,
    101: 44_549_160 - 2_049_000,
}


@pytest.mark.parametrize("depth", PARAMETERS)
def test_a_resnet_has_as_many_parameters_as_the_published_one(depth):
    with torch.device("meta"):
        network = ResNet(depth)
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[depth]


def test_tensors_of_resnet_101_are_named_as_in_published_files():
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in ResNet(101).state_dict().items()}
    by_layer = Counter(name.split(".")[0] for name in shapes)
    assert by_layer == {
        "conv1": 1,
        "bn1": 5,
        "layer1": 60,
        "layer2": 78,
        "layer3": 420,
        "layer4": 60,
    }
    assert shapes["conv1.weight"] == (64, 3, 7, 7) and shapes["layer1.0.downsample.0.weight"] == (
        256,
        64,
        1,
        1,
    )
    assert shapes["layer2.0.conv2.weight"] == (128, 128, 3, 3) and shapes[
        "layer4.2.bn3.running_var"
    ] == (2048,)
    assert (
        shapes["layer3.0.downsample.1.num_batches_tracked"] == ()
        and "layer3.1.downsample.0.weight" not in shapes
    )


@pytest.mark.parametrize(
    "stem_stride, sizes",
    [(2, [(16, 24), (8, 12), (4, 6), (2, 3)]), (1, [(32, 48), (16, 24), (8, 12), (4, 6)])],
)
def test_maps_halve_from_layer_to_layer(stem_stride, sizes):
    torch.manual_seed(0)
    with torch.no_grad():
        maps = ResNet(18, stem_stride).eval()(torch.randn(2, 3, 64, 96))
    assert [tuple(x.shape) for x in maps] == [
        (2, width, *size) for width, size in zip((64, 128, 256, 512), sizes, strict=True)
    ]
    assert all((x >= 0).all() for x in maps)


def test_a_basic_block_by_its_formula():
    torch.manual_seed(0)
    block, x = BasicBlock(4, 6, 2).eval(), torch.randn(1, 4, 7, 9)
    with torch.no_grad():
        inner = conv2d(
            conv2d(x, block.conv1.weight, stride=2, padding=1).div(1.00001**0.5).relu(),
            block.conv2.weight,
            padding=1,
        )
        # fresh normalisations only divide
        truth = (inner + conv2d(x, block.downsample[0].weight, stride=2)).div(1.00001**0.5).relu()
        torch.testing.assert_close(block(x), truth)


def test_an_unknown_depth_is_refused():
    with pytest.raises(ValueError, match="depth: expected one of 18, 34, 50, 101, got 20"):
        ResNet(20)


def test_the_encoder_gives_four_maps_of_one_width_of_any_number_of_images():
    torch.manual_seed(0)
    encoder = ImageEncoder(18, 12).eval()
    images = torch.randn(3, 3, 32, 64)
    with torch.no_grad():
        maps = encoder(images)
        assert [tuple(x.shape) for x in maps] == [
            (3, 12, 8, 16),
            (3, 12, 4, 8),
            (3, 12, 2, 4),
            (3, 12, 1, 2),
        ]
        for together, alone in zip(maps, encoder(images[1:2]), strict=True):
            torch.testing.assert_close(together[1:2], alone, atol=1e-4, rtol=1e-4)


def test_a_bright_spot_shows_at_its_own_place():
    """With weights that only average, the finest map is brightest where the image is."""
    torch.manual_seed(0)
    encoder = ImageEncoder(18, 4)
    for p in encoder.parameters():
        if p.ndim == 4:
            torch.nn.init.constant_(p, 1 / p[0].numel())
    image = torch.zeros(1, 3, 64, 128)
    image[:, :, 44:52, 20:28] = 50.0
    with torch.no_grad():
        finest = encoder.eval()(image)[0][0].mean(0)
    line, column = divmod(int(finest.argmax()), finest.shape[1])
    assert abs(line - 11.5) <= 2 and abs(column - 5.5) <= 2


def test_every_parameter_receives_gradient():
    torch.manual_seed(0)
    encoder = ImageEncoder(18, 8)
    sum((x * torch.randn_like(x)).sum() for x in encoder(torch.randn(2, 3, 32, 64))).backward()
    assert without_gradient(encoder) == []


def test_pooling_brings_a_whole_square_image_to_every_pixel():
    torch.manual_seed(0)
    pooling = PyramidPooling(6, 64).eval()
    x = torch.rand(1, 6, 10, 10, requires_grad=True)
    (gradient,) = torch.autograd.grad(pooling(x)[0, :, 0, 0].sum(), x)
    assert gradient[0, :, 9, 9].abs().sum() > 0


def test_a_narrow_resnet_has_channels_in_proportion():
    torch.manual_seed(0)
    network = ResNet(18, width=24).eval()
    with torch.no_grad():
        assert (
            [x.shape[1] for x in network(torch.randn(1, 3, 32, 64))]
            == [24, 48, 96, 192]
            == list(network.channels)
        )
    assert sum(p.numel() for p in network.parameters()) < 0.15 * PARAMETERS[18]
