"""Algorithm families, one folder each: ``config.py``, ``agent.py``, ``losses.py``."""

__rlcore__ = True
"""Tells this package from other distributions that are imported as ``agents``."""
