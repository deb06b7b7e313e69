"""Initial weights of a transformer.

===========================================  =====================================================
parameter                                    distribution
===========================================  =====================================================
embeddings, head, ``qkv``, ``gate_up``,      normal, mean 0, standard deviation ``init_std``
router
``mixer.out``, ``mlp.down``                  normal, ``init_std / sqrt(2 * layers)``: each of the
                                             ``2 * layers`` branches adds to the residual stream,
                                             whose variance so does not grow with depth (Radford et
                                             al. 2019, section 2.3)
biases                                       0
norms' weights                               1
===========================================  =====================================================
"""

from __future__ import annotations

import math

import torch
from torch import nn

from rlcore.nn.transformer.config import TransformerConfig

_RESIDUAL = ("mixer.out.weight", "mlp.down.weight", "mlp.down")


def initialize(module: nn.Module, config: TransformerConfig) -> None:
    """Set all parameters; random numbers come from torch's global generator, in their order."""
    residual = config.init_std / math.sqrt(2 * config.layers)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=residual if name.endswith(_RESIDUAL) else config.init_std)
            elif name.endswith("bias"):
                parameter.zero_()
            else:
                parameter.fill_(1.0)
