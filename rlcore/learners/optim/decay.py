"""Which parameters weight decay applies to."""

from __future__ import annotations

from torch import nn

from rlcore.learners.flat import FlatParameters


def weight_matrices(network: nn.Module, flat: FlatParameters) -> list[int]:
    """Return the indices in ``flat`` of weights with two or more dimensions, embeddings left out.

    Norms, biases and embeddings scale or place single features; pulling them to 0 is no
    regularisation of a map. A head that is tied to an embedding counts as one.
    """
    embeddings = {id(m.weight) for m in network.modules() if isinstance(m, nn.Embedding)}
    return [
        index
        for index, parameter in enumerate(flat.parameters)
        if parameter.dim() >= 2 and id(parameter) not in embeddings
    ]
