"""Which backend is taken, and why."""

import pytest
import torch

from cmdfusion_ros.sparse import backends, native
from cmdfusion_ros.sparse.backends import choose_backend, use_backend
from cmdfusion_ros.sparse.conv import StridedConv, SubmanifoldConv
from cmdfusion_ros.sparse.tensor import SparseTensor

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def small_box():
    """24 voxels, (24, 4) int32."""
    return torch.cartesian_prod(
        torch.arange(1), torch.arange(4), torch.arange(3), torch.arange(2)
    ).int()


def test_auto_takes_the_fast_path_on_a_cpu_and_to_train_there_what_is_built():
    assert choose_backend("auto", CPU).name == "cpu"
    built = "torch" if native.kernels() is None else "compiled"
    assert choose_backend("auto", CPU, training=True).name == built
    with native.switched_off():
        assert choose_backend("auto", CPU, training=True) == (
            "torch",
            "compiled is not taken: there are no compiled kernels (switched off)",
        )


def test_auto_takes_the_first_on_cuda_whose_check_passes_and_says_why_the_others_are_not_taken(
    monkeypatch,
):
    problems = {"triton": None, "torchsparse": None}
    monkeypatch.setattr(backends, "_failed_check", lambda name, device: problems[name])
    assert choose_backend("auto", CUDA) == (
        "triton",
        "triton is the fastest that works: its check passed",
    )
    problems["triton"] = "triton is not installed"
    expected = (
        "triton is not taken: triton is not installed; torchsparse is the fastest that works: its "
        "check passed"
    )
    assert choose_backend("auto", CUDA, training=True) == ("torchsparse", expected)
    problems["torchsparse"] = "it fails"
    assert choose_backend("auto", CUDA) == (
        "torch",
        "triton is not taken: triton is not installed; torchsparse is not taken: it fails",
    )


def test_every_backend_is_described_with_why_it_cannot_run():
    described = {name: (what, problem) for name, what, problem in backends.describe_backends(CPU)}
    assert described.keys() == backends.BACKENDS.keys()
    assert described["torch"][1] is None and described["cpu"][1] is None
    assert described["triton"][1] == described["torchsparse"][1] == "it needs CUDA"
    assert (
        "compiled kernels" in described["cpu"][0]
        and "compiled kernels" in choose_backend("auto", CPU).reason
    )


@pytest.mark.parametrize(
    ("name", "device", "training", "message"),
    [
        ("fast", CPU, False, "expected one of auto, torch, compiled, cpu, triton, torchsparse"),
        ("compiled", CUDA, True, "'compiled' asked for, but the device is cuda; use auto or torch"),
        ("cpu", CUDA, False, "'cpu' asked for, but the device is cuda; use auto or torch"),
        ("cpu", CPU, True, "'cpu' asked for, but it has no gradients"),
        ("triton", CPU, False, "'triton' asked for, but it needs CUDA"),
        ("torchsparse", CPU, True, "'torchsparse' asked for, but it needs CUDA"),
    ],
)
def test_a_backend_that_cannot_run_is_an_error_that_says_why(name, device, training, message):
    with pytest.raises(ValueError, match=message):
        choose_backend(name, device, training)


def test_the_check_of_triton_passes_where_it_works():
    pytest.importorskip("triton", reason="triton is not installed")
    assert (
        backends._failed_check.__wrapped__("triton", CUDA if torch.cuda.is_available() else CPU)
        is None
    )


def test_the_check_names_what_fails(monkeypatch):
    def broken(backend):
        raise RuntimeError("no C compiler\nlong story")

    monkeypatch.setattr(
        backends.importlib.util, "find_spec", lambda name: None if name == "torchsparse" else name
    )
    assert backends._failed_check.__wrapped__("torchsparse", CPU) == "torchsparse is not installed"
    monkeypatch.setattr(backends, "autograd_function", broken)
    assert (
        backends._failed_check.__wrapped__("triton", CPU) == "it fails: RuntimeError: no C compiler"
    )


def test_the_check_finds_wrong_results(monkeypatch):
    class Wrong:
        @staticmethod
        def apply(features, weight, kernel_map):
            return backends.SparseConvolution.apply(features, weight.flip(0), kernel_map)

    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(backends, "autograd_function", lambda backend: Wrong)
    assert (
        backends._failed_check.__wrapped__("triton", CPU) == "its results differ from the reference"
    )


def test_a_network_is_moved_to_a_backend_as_a_whole():
    pytest.importorskip("triton", reason="triton is not installed")
    device = CUDA if torch.cuda.is_available() else CPU
    network = torch.nn.Sequential(SubmanifoldConv(4, 8), StridedConv(8, 4)).to(device)
    cells = small_box().to(device)
    tensor = SparseTensor(
        torch.randn(len(cells), 4, generator=torch.Generator().manual_seed(0)).to(device), cells
    )
    expected = network(tensor).features
    assert use_backend(network, "triton") is network
    result = network(tensor).features
    assert type(result.grad_fn).__name__ == "TritonConvolutionBackward"
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)


def test_autocast_reaches_sparse_convolutions():
    cells = small_box()
    conv, features = (
        SubmanifoldConv(8, 8),
        torch.randn(len(cells), 8, generator=torch.Generator().manual_seed(0)),
    )
    expected = conv(SparseTensor(features, cells)).features
    with torch.autocast("cpu", torch.bfloat16):
        result = conv(SparseTensor(features, cells)).features
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.float(), expected, rtol=0.05, atol=0.1)
    result.sum().backward()
    assert conv.weight.grad.dtype == torch.float32
