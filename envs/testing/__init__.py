"""Environments whose every transition is known in advance, for tests and benchmarks."""
