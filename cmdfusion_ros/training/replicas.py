"""Several processes that train one network, started by torchrun; or one, which needs none of it.

A step is the mean over the parts of its batch, and the processes share out the parts. So two
processes take the steps that one takes with the same number of
parts: the sum of two numbers does not depend on who adds them.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

_PATIENCE = timedelta(hours=2)  # the first process scores alone while the others wait


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: its number; process 0 writes all files.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def from_environment(cls, device: torch.device) -> "Processes":
        """What torchrun says in RANK and WORLD_SIZE; a single process without it. CUDA speaks
        nccl, the CPU gloo.
        """
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls()
        if not distributed.is_initialized():
            distributed.init_process_group(
                "nccl" if torch.device(device).type == "cuda" else "gloo", timeout=_PATIENCE
            )
        return cls(distributed.get_rank(), size)

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            distributed.barrier()

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace the gradient of each parameter by the sum over all processes; None where no
        process has one.
        """
        if self.size == 1:
            return
        parameters = list(parameters)
        device = parameters[0].device
        has = torch.tensor(
            [parameter.grad is not None for parameter in parameters],
            dtype=torch.float32,
            device=device,
        )
        grads = [
            torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            for parameter in parameters
        ]
        flat = torch.cat([grad.reshape(-1).float() for grad in grads] + [has])
        distributed.all_reduce(flat)
        has = flat[-len(parameters) :].tolist()
        for parameter, grad, known, total in zip(
            parameters,
            grads,
            has,
            flat[: -len(parameters)].split([grad.numel() for grad in grads]),
            strict=True,
        ):
            parameter.grad = total.reshape(grad.shape).to(grad.dtype) if known else None

    def sum_tensors(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in place."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        for tensor, total in zip(
            tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True
        ):
            tensor.copy_(total.reshape(tensor.shape))

    def gather(self, value: Any) -> list[Any]:
        """The plain values of all processes, as a list in the order of their ranks."""
        if self.size == 1:
            return [value]
        values = [None] * self.size
        distributed.all_gather_object(values, value)
        return values
