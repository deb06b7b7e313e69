"""The table of metric names: one name, one unit, one meaning, for every agent.

Names are ``group/name`` in lower snake case. Suffixes: ``_mean``, ``_min``, ``_max``, ``_std``,
``_frac`` (a share in [0, 1]), ``_s`` (seconds). ``docs/reference/metrics.md`` is made from this
table by ``python -m rlcore.tracking.metrics_page``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from rlcore.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Metric:
    """One documented metric.

    Attributes:
        name: ``group/name``; ``<...>`` in a name stands for any lower-snake word.
        unit: What the number counts or measures.
        meaning: One sentence for the reference page.
    """

    name: str
    unit: str
    meaning: str

    @property
    def group(self) -> str:
        """The part before the slash."""
        return self.name.partition("/")[0]


GROUPS: dict[str, str] = {
    "step": "Progress counters; every record carries `step/env` and `step/update`.",
    "time": "Wall time; every record carries `time/wall_s`.",
    "episode": "Training episodes: the last 100 that ended, with the acting policy.",
    "eval": "Evaluation episodes on separately seeded environments. Records carry the `step/env` "
    "of the evaluated weights.",
    "loss": "Means over the valid transitions of the last reported update.",
    "policy": "The policy on the last reported batch.",
    "value": "The value function on the last reported batch.",
    "optim": "The last reported update.",
    "lag": "Staleness: learner version minus the version that acted.",
    "is": "Importance weights between the learner's policy and the policy that acted.",
    "perf": "Rates since the previous record.",
    "runtime": "Who waits for whom, and what was not trained on.",
    "fault": "What went wrong; counts since the start of the run.",
    "checkpoint": "The last checkpoint written.",
    "run": "The run itself.",
    "tracker": "Tracking itself.",
}

_TABLE: tuple[tuple[str, str, str], ...] = (
    ("step/env", "agent decisions", "Environment steps delivered to the learner: the x axis. With "
     "a data set, the same as `step/tokens`."),
    ("step/tokens", "tokens", "Tokens of a data set delivered to the learner, padding left out."),
    ("step/frames", "frames", "Emulator frames: `step/env` times the frameskip."),
    ("step/update", "updates", "Applied learner updates."),
    ("step/epoch", "epochs", "Passes over the training data, for agents that have them."),
    ("time/wall_s", "s", "Wall time of training, over all resumptions."),
    ("time/<phase>_s", "s", "Learner time in a phase since the previous record: `wait`, `collate`, "
     "`update`, `publish`, `validate`."),
    ("episode/return_mean", "reward", "Mean undiscounted, unclipped return."),
    ("episode/return_min", "reward", "Smallest of them."),
    ("episode/return_max", "reward", "Largest of them."),
    ("episode/return_std", "reward", "Their standard deviation (population)."),
    ("episode/length_mean", "agent decisions", "Mean episode length."),
    ("episode/count", "episodes", "Episodes finished since the start of the run."),
    ("eval/return_mean", "reward", "Mean return."),
    ("eval/return_iqm", "reward", "Interquartile mean: mean of the middle 50% of returns."),
    ("eval/return_std", "reward", "Standard deviation of returns (population)."),
    ("eval/return_min", "reward", "Smallest return."),
    ("eval/return_max", "reward", "Largest return."),
    ("eval/return_median", "reward", "Median return."),
    ("eval/ci_low", "reward", "Lower end of the 95% bootstrap interval of the mean return."),
    ("eval/ci_high", "reward", "Upper end of the 95% bootstrap interval of the mean return."),
    ("eval/loss", "nats a token", "Loss on held-out data; of diffusion models, a bound."),
    ("eval/perplexity", "1", "Its exponential."),
    ("eval/tokens", "tokens", "Tokens (or responses) that it is a mean over."),
    ("eval/length_mean", "agent decisions", "Mean episode length."),
    ("eval/episodes", "episodes", "Episodes evaluated."),
    ("eval/seconds", "s", "Wall time of the evaluation."),
    ("loss/total", "nats or reward^2", "The loss that was minimised."),
    ("loss/policy", "nats x advantage", "Policy-gradient term."),
    ("loss/value", "reward^2", "Value regression term, before its coefficient."),
    ("loss/entropy", "nats", "Entropy term as it enters the loss, before its coefficient."),
    ("loss/balance", "1", "How unevenly experts are used, before its coefficient; 1 is evenly."),
    ("policy/entropy", "nats", "Mean entropy of the action distribution; not negated."),
    ("policy/kl", "nats", "KL of the acting from the learner's policy, k3 estimator: "
     "mean of `r - 1 - log r`, `r = pi/mu`."),
    ("policy/clip_frac", "share", "Transitions whose probability ratio was clipped by the loss."),
    ("policy/dual_clip_frac", "share", "Tokens whose objective was held at the lower bound of dual "
     "clipping."),
    ("policy/objective", "advantage", "The objective that was maximised; minus the policy loss."),
    ("policy/std_mean", "action units", "Mean standard deviation of a Gaussian policy."),
    ("value/explained_variance", "share", "1 - Var[target - value] / Var[target]; 1 is perfect, "
     "below 0 is worse than a constant."),
    ("value/mean", "reward", "Mean predicted value."),
    ("value/target_mean", "reward", "Mean value target."),
    ("value/advantage_mean", "reward", "Mean policy-gradient advantage."),
    ("value/advantage_std", "reward", "Standard deviation of the advantage."),
    ("optim/grad_norm", "norm", "Global gradient norm before clipping."),
    ("optim/update_norm", "norm", "Global norm of the parameter change."),
    ("optim/param_norm", "norm", "Global norm of the parameters."),
    ("optim/clip_frac", "share", "Updates whose gradient was clipped, since the previous record."),
    ("optim/lr", "1", "Learning rate of the last update."),
    ("lag/mean", "versions", "Mean lag of the transitions trained on since the previous record."),
    ("lag/max", "versions", "Largest lag since the previous record."),
    ("lag/dropped", "fragments", "Fragments rejected as too old, since the start."),
    ("is/ratio_mean", "1", "Mean of `pi/mu`; near 1 while nearly on-policy."),
    ("is/ratio_max", "1", "Largest `pi/mu` of the batch."),
    ("is/ess", "share", "Effective sample size over batch size: `(sum r)^2 / (n sum r^2)`."),
    ("is/clip_frac", "share", "Transitions whose importance weight was truncated."),
    ("is/weight_mean", "1", "Mean weight of the tokens that train, after truncation or masking."),
    ("is/weight_max", "1", "Largest of them."),
    ("is/dropped_frac", "share", "Tokens of sequences left out because the geometric mean of their "
     "`pi/mu` is outside the band."),
    ("perf/env_steps_per_s", "steps/s", "Environment steps delivered to the learner."),
    ("perf/trained_steps_per_s", "steps/s", "Environment steps trained on."),
    ("perf/tokens_per_s", "tokens/s", "Tokens of a data set trained on."),
    ("perf/updates_per_s", "updates/s", "Applied updates."),
    ("runtime/steps_dropped", "agent decisions", "Steps collected but not trained on."),
    ("runtime/batches_empty", "batches", "Batches passed over: every row was masked out."),
    ("runtime/rows_padded", "rows", "Rows masked out of fragments that were closed early."),
    ("runtime/actor_blocked_frac", "share", "Actor time spent waiting for the learner."),
    ("runtime/learner_starved_frac", "share", "Learner time spent waiting for fragments."),
    ("fault/restarts", "restarts", "Actors started again after a failure."),
    ("fault/healthy", "actors", "Actors alive now."),
    ("fault/dropped_batches", "batches", "Batches lost to faults."),
    ("fault/nonfinite", "updates", "Updates skipped for a non-finite loss or gradient."),
    ("fault/zeroed", "updates", "Updates that took non-finite gradient entries as 0."),
    ("fault/torn", "fragments", "Fragments whose checksum did not hold; none is trained on."),
    ("checkpoint/seconds", "s", "Time to write it."),
    ("checkpoint/bytes", "bytes", "Its size."),
    ("run/resumes", "resumptions", "How often the run was resumed; marks the record at which it "
     "went on. Older records beyond this one's `step/env` were not kept by the run."),
    ("tracker/dropped", "records", "Records a slow tracker did not receive; `metrics.jsonl` has "
     "them all."),
)  # fmt: skip

METRICS: dict[str, Metric] = {row[0]: Metric(*row) for row in _TABLE}
PHASES = ("collate", "publish", "update", "validate", "wait")
AXES = ("step/env", "step/update", "time/wall_s")
"""Names that every record carries."""


def is_known(name: str) -> bool:
    """Return whether ``name`` is in the table."""
    if name in METRICS:
        return True
    prefix, suffix = "time/", "_s"
    return (
        name.startswith(prefix)
        and name.endswith(suffix)
        and name[len(prefix) : -len(suffix)] in PHASES
    )


def unknown_names(names: Iterable[str]) -> list[str]:
    """Return the names that are not in the table, sorted."""
    return sorted(name for name in names if not is_known(name))


def check_record(record: Mapping[str, float]) -> None:
    """Check that a record carries the axes and only known names.

    Raises:
        ConfigError: Names the missing axes, and each unknown name with the nearest known one.
    """
    problems = [f"{axis!r} is missing" for axis in AXES if axis not in record]
    for name in unknown_names(record):
        near = get_close_matches(name, METRICS, n=1)
        problems.append(f"unknown {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    if problems:
        raise ConfigError(f"metric record: {'; '.join(problems)} (see docs/reference/metrics.md)")
