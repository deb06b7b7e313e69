"""Learner axis: estimators."""
