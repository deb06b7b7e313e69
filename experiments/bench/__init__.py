"""Benchmarks: ours and the peer interleaved in one run, reported as a ratio with its spread."""

from experiments.bench.suite import BENCHES, run_bench

__all__ = ["BENCHES", "run_bench"]
