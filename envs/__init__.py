"""Environments and presets, behind Gymnasium's interface.

Importing this package registers the small environments of :mod:`envs.testing` with Gymnasium:
``testing/counting-v0``, ``testing/faulty-v0``, ``testing/noop-image-v0``, ``testing/one-step-v0``.
"""

from envs.testing.register import register

register()
