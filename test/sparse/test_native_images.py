"""The compiled kernels between points and pixels: the same answers as torch and numpy give."""

import numpy as np
import pytest
import torch

from cmdfusion_ros.frame import CameraView, Distortion
from cmdfusion_ros.models.efficientnet import SameConv2d
from cmdfusion_ros.models.views import PixelPairs, gather, shown_points
from cmdfusion_ros.sparse import native, native_images

pytestmark = pytest.mark.skipif(
    native.kernels() is None, reason=f"no compiled kernels: {native.why_not()}"
)
LENSES = [
    None,
    Distortion("plumb_bob", (-0.3, 0.1, 0.002, -0.001, 0.02)),
    Distortion("plumb_bob", (-0.9, 0.0, 0.0, 0.0, 0.0)),  # turns back within the image
    Distortion("rational_polynomial", (0.2, -0.1, 0.001, 0.002, 0.01, 0.3, -0.05, 0.02)),
    Distortion("equidistant", (0.05, -0.01, 0.003, 0.0)),
    Distortion("equidistant", (-0.5, 0.0, 0.0, 0.0)),
    Distortion("equidistant", (0.0, 0.0, 0.0, 0.0)),
]


def instruction_sets():
    """Those that this CPU has."""
    best = native.kernels()
    number = native.INSTRUCTION_SETS.index(best.instruction_set) if best else 0
    return native.INSTRUCTION_SETS[: number + 1]


def view_with(distortion):
    """A camera that looks along y of the cloud, a little aside and below."""
    place = np.eye(4)
    place[:3, :3] = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    place[:3, 3] = (0.1, -0.2, 0.05)
    return CameraView(
        "front",
        np.zeros((48, 64, 3), np.uint8),
        np.array([[40.0, 0.3, 31.2], [0, 42.0, 24.8], [0, 0, 1]]),
        place,
        distortion=distortion,
    )


@pytest.mark.parametrize("distortion", LENSES, ids=lambda lens: lens and lens.model)
def test_points_are_shown_where_numpy_projects_them(distortion):
    points = np.random.default_rng(0).normal(0, 8, (5000, 3)).astype(np.float32)
    points[:4] = [[0, 0, 0], [0, 0.05, 0], [0, -3, 0], [0, 1e4, 0]]
    rows, pixels, depths = shown_points(points, view_with(distortion))
    with native.switched_off():
        expected = shown_points(points, view_with(distortion))
    assert 200 < len(rows) < 4000 and (np.diff(rows) > 0).all()
    # a point on the image's very edge may fall either way
    common, ours, theirs = np.intersect1d(rows, expected[0], return_indices=True)
    assert len(common) >= max(len(rows), len(expected[0])) - 2
    np.testing.assert_allclose(pixels[ours], expected[1][theirs], atol=1e-3)
    np.testing.assert_allclose(depths[ours], expected[2][theirs], rtol=1e-5)


def test_no_points_are_shown_of_none_and_of_nan():
    view = view_with(LENSES[1])
    assert [len(part) for part in shown_points(np.zeros((0, 3), np.float32), view)] == [0, 0, 0]
    lost = np.full((3, 3), np.nan, np.float32)
    assert len(shown_points(lost, view)[0]) == 0


@pytest.mark.parametrize("instruction_set", instruction_sets())
@pytest.mark.parametrize("channels", [1, 7, 16, 32, 43])
@pytest.mark.parametrize("size", [(6, 9), (1, 5), (5, 1), (1, 1)])
def test_maps_are_read_as_torch_reads_them(instruction_set, channels, size):
    generator = torch.Generator().manual_seed(channels)
    level = torch.randn(1, channels, *size, generator=generator)
    uv = torch.rand(300, 2, generator=generator) * 2 - 1
    uv[:3] = torch.tensor([[-1.0, -1.0], [0.999999, 0.999999], [0.0, 0.0]])
    nothing = torch.zeros(300, dtype=torch.int64)
    expected = gather(level, PixelPairs(nothing, nothing, uv))
    out = torch.empty(300, channels)
    image_map = level[0].permute(1, 2, 0).contiguous()
    native_images.gather(native.kernels(), image_map, uv, out, instruction_set)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("instruction_set", instruction_sets())
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("height", "width", "channels"), [(9, 12, 32), (8, 7, 100), (2, 1, 5), (1, 1, 16)]
)
def test_a_depthwise_convolution_is_torchs(
    instruction_set, kernel, stride, height, width, channels
):
    torch.manual_seed(kernel * height + channels)
    convolution = SameConv2d(channels, channels, kernel, stride, groups=channels)
    image = 4 * torch.randn(height, width, channels)
    with torch.no_grad():
        expected = convolution(image.permute(2, 0, 1)[None]).clamp(0, 6)[0].permute(1, 2, 0)
        result = native_images.depthwise(
            native.kernels(),
            image,
            convolution.weight[:, 0].permute(1, 2, 0).contiguous(),
            convolution.bias,
            stride,
            instruction_set,
        )
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)
    if height > 2:
        assert (expected == 0).any() and (expected > 0).any()
