"""U2MKD's joins start as identity; here they are as after some steps."""

import torch
from torch import nn

from cmdfusion_ros.models.gated_fusion import ScalarGatedFusion


def off_identity(network: nn.Module) -> nn.Module:
    """`network`, whose joins (if it has any) are no identity any more: a fresh one says nothing of
    its images, and nothing behind its joins has a gradient.
    """
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, ScalarGatedFusion):
                module.join.weight.add_(0.3 * torch.randn_like(module.join.weight))
    return network
