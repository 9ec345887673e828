"""The door to the backends of sparse convolution: which can run here, which is taken, and why."""

import functools
import importlib.util
from typing import Any, NamedTuple

import torch
from torch import nn

from cmdfusion_ros.sparse import native
from cmdfusion_ros.sparse.compiled import CompiledConvolution
from cmdfusion_ros.sparse.conv import (
    SparseConvolution,
    StridedConv,
    SubmanifoldConv,
    TransposedConv,
)
from cmdfusion_ros.sparse.tensor import KernelMaps

# What each can do. `cpu` is not a backend of the modules of `conv`: networks have a form of their
# own for it.
BACKENDS = {
    "torch": "plain torch, any device, trains: the reference",
    "compiled": "compiled kernels, CPU, trains",
    "cpu": "blocks of rows on threads of our own, CPU, inference only",
    "triton": "fused kernels, CUDA, trains",
    "torchsparse": "torchsparse 2.0 or 2.1 where it is installed, CUDA, trains",
}
ON_CUDA = ("triton", "torchsparse")  # triton before torch on an H200 (docs/sparse.md)


class Choice(NamedTuple):
    """The backend that is taken, a key of BACKENDS, and why."""

    name: str
    reason: str


def choose_backend(name: str, device: torch.device, training: bool = False) -> Choice:
    """Take a backend, or the fastest that works.

    Args:
        name: "auto" or a key of BACKENDS.
        device: torch.device that the network runs on.
        training: whether gradients are needed.

    Returns:
        Choice.

    Raises:
        ValueError: an unknown name, or a backend that cannot run here.
    """
    if name == "auto":
        if device.type == "cpu":
            if not training:
                return Choice("cpu", f"the fastest on a CPU, {_kernels()}")
            problem = problem_with("compiled", device, training)
            if problem is None:
                return Choice("compiled", f"the fastest that trains on a CPU, {_kernels()}")
            return Choice("torch", f"compiled is not taken: {problem}")
        problems: list[str] = []
        for candidate in ON_CUDA:
            problem = problem_with(candidate, device, training)
            if problem is None:
                return Choice(
                    candidate,
                    "; ".join(
                        [*problems, f"{candidate} is the fastest that works: its check passed"]
                    ),
                )
            problems.append(f"{candidate} is not taken: {problem}")
        return Choice("torch", "; ".join(problems))
    if name not in BACKENDS:
        raise ValueError(f"backend: expected one of auto, {', '.join(BACKENDS)}, got {name!r}")
    problem = problem_with(name, device, training)
    if problem is not None:
        raise ValueError(f"backend: {name!r} asked for, but {problem}; use auto or torch")
    return Choice(name, "asked for")


def problem_with(name: str, device: torch.device, training: bool = False) -> str | None:
    """Why a backend cannot run on a device, or None where it can."""
    if name == "cpu":
        if device.type != "cpu":
            return f"the device is {device}"
        return "it has no gradients" if training else None
    if name == "compiled":
        if device.type != "cpu":
            return f"the device is {device}"
        return None if native.kernels() else f"there are no compiled kernels ({native.why_not()})"
    if name in ON_CUDA:
        return "it needs CUDA" if device.type != "cuda" else _failed_check(name, device)
    return None


def describe_backends(device: torch.device) -> list[tuple[str, str, str | None]]:
    """[(name, what it is, why it cannot run on this device or None)] of every backend."""
    return [
        (name, f"{what}; {_kernels()}" if name == "cpu" else what, problem_with(name, device))
        for name, what in BACKENDS.items()
    ]


def _kernels() -> str:
    kernels = native.kernels()
    return (
        f"with compiled kernels for {kernels.instruction_set}"
        if kernels
        else f"without compiled kernels ({native.why_not()})"
    )


@functools.cache
def autograd_function(backend: str) -> Any:
    """The function (features, weight, kernel_map) of a backend that trains: "torch", "compiled",
    "triton" or "torchsparse".
    """
    if backend == "compiled":
        return CompiledConvolution
    if backend == "triton":  # triton and torchsparse are not on every machine
        from cmdfusion_ros.sparse.triton_backend import TritonConvolution

        return TritonConvolution
    if backend == "torchsparse":
        from cmdfusion_ros.sparse.torchsparse_backend import convolution_function

        return convolution_function()
    return SparseConvolution


@functools.cache
def _failed_check(name: str, device: torch.device) -> str | None:
    """Run one small convolution and its gradients, and compare them with the reference: what is
    wrong, or None.
    """
    if importlib.util.find_spec(name) is None:
        return f"{name} is not installed"
    try:
        function = autograd_function(name)
        row = torch.arange(40, dtype=torch.int32, device=device)[:, None]
        kernel_map = KernelMaps(
            {1: torch.cat([torch.zeros_like(row), row // 8, row % 8, torch.zeros_like(row)], 1)}
        ).submanifold(1, 3)
        generator = torch.Generator().manual_seed(0)
        features = torch.randn(40, 16, generator=generator).to(device).requires_grad_()
        weight = torch.randn(27, 16, 16, generator=generator).to(device).requires_grad_()
        with torch.enable_grad():
            results = [
                one.apply(features, weight, kernel_map) for one in (function, SparseConvolution)
            ]
            gradients = [
                torch.autograd.grad(result.square().sum(), [features, weight]) for result in results
            ]
        for ours, reference in zip(
            (results[0], *gradients[0]), (results[1], *gradients[1]), strict=True
        ):
            if not torch.allclose(
                ours, reference, rtol=1e-2, atol=1e-2 * float(reference.detach().abs().max())
            ):
                return "its results differ from the reference"
    # Whatever a missing compiler, an old driver or another version raises: the reference works.
    except Exception as error:
        return (
            f"it fails: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        )
    return None


def use_backend(network: nn.Module, name: str) -> nn.Module:
    """Let every sparse convolution in a network run on "torch", "compiled", "triton" or
    "torchsparse"; returns the network.
    """
    for module in network.modules():
        if isinstance(module, (SubmanifoldConv, StridedConv, TransposedConv)):
            module.convolution = autograd_function(name)
    return network
