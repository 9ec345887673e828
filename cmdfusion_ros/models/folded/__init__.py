"""Inference forms of the networks: equal to the training forms, faster on a CPU."""

from typing import Any

from torch import nn

from cmdfusion_ros.models.cmdfusion import CmdFusion
from cmdfusion_ros.models.flagship import Flagship
from cmdfusion_ros.models.folded.folded_cmdfusion import FoldedCmdFusion, FoldedFlagship
from cmdfusion_ros.models.folded.folded_pyramid import FoldedSpvPyramid
from cmdfusion_ros.models.folded.folded_unet import FoldedUnet
from cmdfusion_ros.models.spv_pyramid import SpvPyramid
from cmdfusion_ros.models.spv_unet import SpvUnet
from cmdfusion_ros.models.u2mkd import U2mkd
from cmdfusion_ros.models.unet_flagship import UnetFlagship

_FORMS: dict[type[nn.Module], Any] = {
    SpvPyramid: FoldedSpvPyramid,
    CmdFusion: FoldedCmdFusion,
    Flagship: FoldedFlagship,
    SpvUnet: FoldedUnet,
    U2mkd: FoldedUnet,
    UnetFlagship: FoldedUnet,
}


def inference_form(network: nn.Module, threads: int, half: bool = False) -> Any:
    """The form in which a trained network labels on a CPU: called with a Batch it gives the Output
    that the network would give, to 1e-4 of the logits; `close()` ends its threads.

    Args:
        network: made by `models.build_network`, with its weights; in evaluation mode afterwards.
        threads: how many compute.
        half: multiply in bfloat16 where this CPU can (`sparse.native.Kernels.has_half`): faster,
            and some labels in a thousand differ.

    Raises:
        ValueError: a network without such a form.
    """
    form = _FORMS.get(type(network))
    if form is None:
        known = ", ".join(each.__name__ for each in _FORMS)
        raise ValueError(f"inference form: expected one of {known}, got {type(network).__name__}")
    return form(network, threads, half)
