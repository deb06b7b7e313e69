"""Checkpoints that a crash cannot spoil: saving, choosing, checking and rotating them.

Saving stages all files, brings them to the disk, writes the manifest last and renames the folder.
Loading scans for the newest checkpoint that is whole and goes back to the one before where it is
not; no pointer file is trusted. Tensors are in the safetensors format, everything else is JSON:
nothing in a checkpoint is executed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rlcore.errors import CheckpointError, ConfigError
from rlcore.runtime.checkpoint_files import (
    Staging,
    checkpoint_folders,
    folder_step,
    free_name,
    move_to_trash,
    remove_leftovers,
)
from rlcore.runtime.checkpoint_manifest import (
    MANIFEST,
    FormatTooNewError,
    Manifest,
    finite,
    read_manifest,
)
from rlcore.runtime.checkpoint_reader import STATE, Checkpoint, read_checkpoint
from rlcore.runtime.durable_files import replace_durably
from rlcore.tensor_file import Arrays

__all__ = ["Checkpoint", "Checkpointer", "SaveReport", "StagedCheckpoint"]

_SCANS = 3
_log = logging.getLogger(__name__)

Found = tuple[Path, Manifest]


@dataclass(frozen=True, slots=True)
class SaveReport:
    """What one save cost.

    Attributes:
        path: The new checkpoint.
        step: Its environment steps.
        bytes: Size of its files.
        seconds: Wall time from ``begin`` to the end of rotation.
    """

    path: Path
    step: int
    bytes: int
    seconds: float


class Checkpointer:
    """Saves and loads the checkpoints in one directory. One process may save, any may load.

    Args:
        directory: Where the checkpoint folders are; made when the first one is saved.
        keep: How many of the newest to keep.
        milestones: Keep for good the first checkpoint in each this many environment steps.
        config_hash: Hash of the experiment; checkpoints of another one are refused. ``None`` takes
            those of any.
        earlier_hashes: Hashes that the same experiment had before its settings were changed; their
            checkpoints are taken too.
        keep_best: Metric whose largest value marks the checkpoint to keep besides.

    Attributes:
        last: Report on the newest save of this process.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        keep: int = 3,
        milestones: int | None = None,
        config_hash: str | None = None,
        earlier_hashes: Collection[str] = (),
        keep_best: str | None = None,
    ) -> None:
        if keep < 1:
            raise ConfigError(f"checkpoint.keep must be >= 1, got {keep}")
        if milestones is not None and milestones < 1:
            raise ConfigError(f"checkpoint.milestones must be >= 1, got {milestones}")
        self.directory = Path(directory)
        self.keep = keep
        self.milestones = milestones
        self.config_hash = config_hash
        self.earlier_hashes = tuple(earlier_hashes)
        self.keep_best = keep_best
        self.last: SaveReport | None = None
        self._cleaned = False

    # -- saving ---------------------------------------------------------------------------------

    def save(
        self,
        step: int,
        tensors: Mapping[str, Arrays],
        state: Mapping[str, object],
        metrics: Mapping[str, float] | None = None,
    ) -> Path:
        """Write a checkpoint and rotate the old ones; see ``last`` for size and seconds.

        Args:
            step: Environment steps.
            tensors: Named tensors by file stem.
            state: JSON-able values, NumPy numbers and non-finite floats included.
            metrics: Figures to choose the best checkpoint by.

        Returns:
            The checkpoint's folder. It is on the disk: a crash from now on cannot undo it.

        Raises:
            CheckpointError: The disk is full or read-only, or a value cannot be stored. Nothing is
                left of the attempt and the checkpoints before it are as they were.
        """
        with self.begin(step) as staging:
            for stem, named in tensors.items():
                staging.write_tensors(stem, named)
            staging.write_json(STATE, state)
            return staging.commit(metrics)

    @contextmanager
    def begin(self, step: int) -> Iterator[StagedCheckpoint]:
        """Open a checkpoint in the making; what is not committed is removed on leaving.

        Other processes may write files into its ``path`` until ``commit`` is called.

        Raises:
            CheckpointError: As :meth:`save`, for whatever is done to the staging folder.
        """
        if step < 0:
            raise CheckpointError(f"a checkpoint needs a step >= 0, got {step}")
        staged = None
        try:
            if not self._cleaned:
                self._cleaned = True
                remove_leftovers(self.directory)
            staged = StagedCheckpoint(self, step)
            yield staged
        except OSError as error:
            raise CheckpointError(
                f"the checkpoint of step {step} was not written to {self.directory}: "
                f"{error.strerror or error}; earlier ones are intact"
            ) from error
        finally:
            if staged is not None:
                staged.discard()

    def _commit(self, staging: Staging, metrics: Mapping[str, float] | None) -> Found:
        before = self._whole()
        newest = before[-1][1] if before else None
        passed = newest.step if newest else 0
        every = self.milestones
        target = free_name(self.directory, staging.step)
        manifest = staging.seal(
            target,
            config_hash=self.config_hash or "",
            sequence=newest.sequence + 1 if newest else 0,
            milestone=every is not None and staging.step // every > passed // every,
            metrics=finite(metrics or {}),
        )
        self._rotate([*before, (target, manifest)])
        return target, manifest

    def _whole(self) -> list[Found]:
        """Return the checkpoints with a readable manifest, oldest first."""
        found = []
        for folder in checkpoint_folders(self.directory):
            try:
                found.append((folder, read_manifest(folder)))
            except CheckpointError as error:
                _log.warning("ignored while saving: %s", error)
        return sorted(found, key=lambda item: (item[1].sequence, item[1].step))

    def _rotate(self, found: list[Found]) -> None:
        kept = {folder for folder, _ in found[-self.keep :]}
        kept |= {folder for folder, manifest in found if manifest.milestone}
        best = _best_first(found, self.keep_best)
        kept |= {folder for folder, _ in best[:1]}
        for folder, _ in found:
            if folder in kept:
                continue
            try:
                move_to_trash(folder)
            except OSError as error:
                _log.warning("old checkpoint %s was not removed: %s", folder, error)

    def record_metrics(self, path: str | Path, metrics: Mapping[str, float]) -> bool:
        """Add figures to a checkpoint that exists, for example its evaluation.

        Returns:
            Whether it was still there.

        Raises:
            CheckpointError: The checkpoint is not readable, or the disk is full.
        """
        folder = Path(path)
        if not folder.exists():
            return False
        manifest = read_manifest(folder)
        try:
            replace_durably(
                folder / MANIFEST,
                replace(manifest, metrics=manifest.metrics | finite(metrics)).to_bytes(),
            )
        except FileNotFoundError:
            return False
        except OSError as error:
            raise CheckpointError(f"{folder}: metrics not added: {error.strerror}") from error
        return True

    # -- loading --------------------------------------------------------------------------------

    def load(
        self, selector: str | Path = "latest", *, only: Collection[str] | None = None
    ) -> Checkpoint:
        """Load a checkpoint after checking all of it.

        Args:
            selector: ``"latest"`` and ``"best"`` go back to the next one where one is damaged;
                ``"step=N"`` and a folder's path or name stand for themselves.
            only: Stems of the tensor files to read; all by default.

        Raises:
            CheckpointError: None can be used; the message says why, for each.
        """
        text = str(selector)
        if text == "latest":
            return self._first(lambda: list(reversed(self._candidates())), only)
        if text == "best":
            if self.keep_best is None:
                raise CheckpointError("no metric says which is best: set checkpoint.keep_best")
            return self._first(lambda: self._best_candidates(), only)
        if text.startswith("step="):
            return self._first(lambda: self._at_step(text.removeprefix("step=")), only)
        path = Path(selector)
        inside = self.directory / path
        folder = inside if inside.is_dir() and not path.is_dir() else path
        return read_checkpoint(folder, self._accepted(), only)

    def _accepted(self) -> tuple[str, ...] | None:
        return None if self.config_hash is None else (self.config_hash, *self.earlier_hashes)

    def steps(self) -> list[int]:
        """Return the steps of the checkpoints with a readable manifest, oldest first."""
        return [manifest.step for _, manifest in self._whole()]

    def _candidates(self) -> list[Path]:
        """Return all folders, oldest first; those without a manifest by their step."""
        keyed = []
        for position, folder in enumerate(checkpoint_folders(self.directory)):
            try:
                keyed.append((read_manifest(folder).sequence, position, folder))
            except FormatTooNewError:
                raise
            except CheckpointError:
                keyed.append((-1, position, folder))
        # One without a manifest stands where its step puts it, so that it is reported.
        last = -1
        for index, (sequence, position, folder) in enumerate(keyed):
            last = sequence if sequence >= 0 else last
            keyed[index] = (last, position, folder)
        return [folder for _, _, folder in sorted(keyed)]

    def _best_candidates(self) -> list[Path]:
        return [folder for folder, _ in _best_first(self._whole(), self.keep_best)]

    def _at_step(self, text: str) -> list[Path]:
        if not text.isdigit():
            raise CheckpointError(f"wanted step=N with a number, got 'step={text}'")
        folders = checkpoint_folders(self.directory)
        found = [folder for folder in folders if folder_step(folder) == int(text)]
        if not found:
            steps = ", ".join(str(folder_step(folder)) for folder in folders) or "none"
            raise CheckpointError(
                f"no checkpoint of step {text} in {self.directory}; there: {steps}"
            )
        return found[::-1]

    def _first(
        self, candidates: Callable[[], list[Path]], only: Collection[str] | None
    ) -> Checkpoint:
        skipped: list[str] = []
        seen: list[Path] = []
        for _ in range(_SCANS):
            folders = candidates()
            if folders == seen:
                break
            # Again where all were lost to rotation while this process was reading.
            seen, skipped = folders, []
            for folder in folders:
                try:
                    return replace(read_checkpoint(folder, self._accepted(), only), skipped=skipped)
                except FormatTooNewError:
                    raise
                except CheckpointError as error:
                    _log.warning("checkpoint passed over: %s", error)
                    skipped.append(str(error))
        if not skipped:
            raise CheckpointError(f"no checkpoint in {self.directory}")
        reasons = "".join(f"\n  {reason}" for reason in skipped)
        raise CheckpointError(f"no usable checkpoint in {self.directory}:{reasons}")


class StagedCheckpoint(Staging):
    """A checkpoint in the making (see :meth:`Checkpointer.begin`)."""

    def __init__(self, owner: Checkpointer, step: int) -> None:
        self._started = time.perf_counter()
        self._owner = owner
        super().__init__(owner.directory, step)

    def commit(self, metrics: Mapping[str, float] | None = None) -> Path:
        """Make it a checkpoint: all files that are in ``path`` now belong to it.

        Raises:
            CheckpointError: There is no ``state.json``, or a file has an impossible name.
            OSError: The disk is full, ...; ``begin`` turns it into a CheckpointError.
        """
        if not (self.path / f"{STATE}.json").is_file():
            raise CheckpointError(f"a checkpoint needs {STATE}.json")
        path, manifest = self._owner._commit(self, metrics)
        self._owner.last = SaveReport(
            path,
            self.step,
            sum(record.size for record in manifest.files),
            time.perf_counter() - self._started,
        )
        return path


def _best_first(found: list[Found], metric: str | None) -> list[Found]:
    """Return those with the metric, largest value first, of equals the newest."""
    scored = [item for item in found if metric is not None and metric in item[1].metrics]
    return sorted(scored, key=lambda i: (i[1].metrics[metric or ""], i[1].sequence), reverse=True)
