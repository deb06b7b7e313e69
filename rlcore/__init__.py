"""rlcore: one asynchronous actor-learner core for control and language-model agents."""

__version__ = "0.1.0"
