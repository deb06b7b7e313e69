"""Evaluation beside training: a process that evaluates the newest checkpoint, one at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.schema import EvalConfig

if TYPE_CHECKING:
    from rlcore.runtime.child import Messages
    from rlcore.runtime.process import ChildProcess


def main(args: dict[str, Any], messages: Messages) -> None:
    """Evaluate the newest checkpoint of a run; the entry of the child process."""
    from experiments.evaluate import evaluate_run

    result = evaluate_run(
        args["run"],
        episodes=args["episodes"],
        deterministic=args["deterministic"],
        num_envs=args["num_envs"],
    )
    messages.send("eval", result={k: v for k, v in result.items() if k != "episodes"})


class Evaluator:
    """Evaluates checkpoints every ``config.every`` environment steps, in a process of its own.

    Training never waits for it: while one evaluation runs, newer checkpoints pass by, and the next
    evaluation takes the newest.

    Args:
        run_dir: The run folder.
        config: How often and how many episodes.
    """

    def __init__(self, run_dir: Path, config: EvalConfig) -> None:
        self.run_dir = run_dir
        self.config = config
        self._child: ChildProcess | None = None
        self._next = config.every or 0

    def offer(self, checkpoint_step: int) -> None:
        """Start an evaluation if the checkpoint at ``checkpoint_step`` is due for one."""
        every = self.config.every
        if every is None or not self.config.episodes or self._child is not None:
            return
        if checkpoint_step >= self._next:
            self._start()
            self._next = (checkpoint_step // every + 1) * every

    def _start(self) -> None:
        from rlcore.runtime.process import ChildProcess

        args = {
            "run": str(self.run_dir),
            "episodes": self.config.episodes,
            "deterministic": self.config.deterministic,
            "num_envs": self.config.num_envs,
        }
        log = self.run_dir / "logs" / "evaluator.log"
        self._child = ChildProcess("evaluator", "experiments.evaluator:main", args, (), log, 1)

    def take(self) -> tuple[dict[str, Any] | None, str]:
        """Return the result of an evaluation that has ended, and why one failed."""
        if self._child is None:
            return None, ""
        status = self._child.poll()
        messages = self._child.receive()
        result = next((m["result"] for m in messages if m["kind"] == "eval"), None)
        error = next((m["message"] for m in messages if m["kind"] == "error"), "")
        if result is None and not error and status is None:
            return None, ""
        self.close()
        if result is None:
            error = error or f"the evaluator ended with status {status}"
        return result, error

    def close(self) -> None:
        """End an evaluation that is still running."""
        if self._child is not None:
            self._child.end()
            self._child.close()
            self._child = None
