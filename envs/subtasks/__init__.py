"""Compositional subtasks, and the zero-sum game of who picks the next one."""
