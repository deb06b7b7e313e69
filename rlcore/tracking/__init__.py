"""Tracking: metric names, sinks that mirror the metric log, health lines, statistics, video.

``metrics.jsonl`` in the run folder is the truth. Every other sink mirrors it and may fail without
touching the run. Nothing here imports torch.
"""
