"""Drawing tokens: counter-based random numbers, the sampler, statistics of rows of logits."""

from rlcore.ops.sampling.counter_rng import branch_key
from rlcore.ops.sampling.head_pass import HeadStatistics, head_statistics
from rlcore.ops.sampling.sampler import Sampled, SamplingRows, mark_seen, sample

__all__ = [
    "HeadStatistics",
    "Sampled",
    "SamplingRows",
    "branch_key",
    "head_statistics",
    "mark_seen",
    "sample",
]
