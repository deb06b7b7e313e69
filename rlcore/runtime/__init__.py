"""Actors, schedules, the parameter store, supervision and checkpoints."""
