"""Learner axis: optim."""
