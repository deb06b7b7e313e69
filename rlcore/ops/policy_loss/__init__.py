"""Pieces that policy-gradient losses share: masked means, advantages, schedules, metrics."""
