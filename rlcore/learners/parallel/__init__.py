"""Learner axis: parallel."""
