"""Log-probabilities and cross-entropy of a linear head, without the logits of a whole batch."""

from rlcore.ops.log_prob.linear import TokenLogProbs, linear_cross_entropy, linear_log_probs

__all__ = ["TokenLogProbs", "linear_cross_entropy", "linear_log_probs"]
