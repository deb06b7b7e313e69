"""Mirrors records to TensorBoard event files, with TensorBoard's own writer (no torch)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlcore.errors import MissingDependencyError
from rlcore.tracking.tracker import Record

FOLDER = "tensorboard"


class TensorBoardSink:
    """Writes each metric as a scalar against ``step/env``.

    Args:
        run_dir: Event files go to ``run_dir/tensorboard``.

    Raises:
        MissingDependencyError: The package ``tensorboard`` is not installed.
    """

    name = "tensorboard"

    def __init__(self, run_dir: str | Path) -> None:
        try:
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise MissingDependencyError(
                "TensorBoard files need the package tensorboard: pip install 'rlcore[tensorboard]'"
            ) from error
        self._writer: Any = EventFileWriter(str(Path(run_dir) / FOLDER))

    def log(self, record: Record) -> None:
        """Write one event with all values of a record but the axes of others."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [
            Summary.Value(tag=name, simple_value=float(value))
            for name, value in record.items()
            if name != "step/env"
        ]
        step = int(record.get("step/env", 0))
        self._writer.add_event(
            Event(wall_time=time.time(), step=step, summary=Summary(value=values))
        )

    def event(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Flush when a run's state changes; events have no place in TensorBoard."""
        if kind in ("checkpoint", "done", "failed"):
            self._writer.flush()

    def close(self) -> None:
        """Write what is pending."""
        self._writer.close()
