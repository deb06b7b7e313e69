"""``rlcore bench decode``: accuracy and cost of every decoding composition on one trained model.

For each composition: accuracy with a Wilson interval, passes (NFE), positions written a pass (TPF),
positions up to the first end token a pass (useful TPF), positions for each sequence the model read,
and seconds for the whole set. Compare compositions at equal accuracy, never at one setting.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.bench.harness import Row
from experiments.bench.masked_beds import BEDS, Bed, answers_of
from experiments.bench.masked_training import cores, train
from rlcore.inference.decoding import PromptBatch, TransformerDenoiser, build_decoder
from rlcore.nn.transformer import Transformer
from rlcore.tensor_file import load_tensors, save_tensors

N = 1024
CACHE = Path("runs", "bench", "decode")
Z = 1.959963984540054
"""Normal quantile of a 95 % interval."""

Settings = dict[str, Any]


def _uniform(**counts: int) -> Settings:
    return {"name": "fixed_count", "schedule": {"name": "uniform", **counts}}


def _eoser(gamma_min: float) -> list[Settings]:
    return [{"name": "eos_early_rejection", "gamma_min": gamma_min}]


ASCENDING: Settings = {"name": "fixed_count", "schedule": "ascending"}


def compositions(bed: Bed) -> dict[str, Settings]:
    """Return the compositions of a bed, by name."""
    return _sudoku() if bed.name.startswith("sudoku") else _chain_sum(bed.length)


def _chain_sum(length: int) -> dict[str, Settings]:
    steps = length.bit_length() - 1
    block = {"name": "semi_ar", "block_length": length // 4}
    threshold = {"name": "threshold", "tau": 0.9}
    sure = {
        "threshold 0.9": threshold,
        "factor 1.0": {"name": "factor", "factor": 1.0},
        "hierarchical 0.9/0.5": {"name": "hierarchical", "high": 0.9, "low": 0.5},
        "entropy bound 0.1": {"name": "entropy_bound", "gamma": 0.1},
    }
    table: dict[str, Settings] = {
        "full, 1 a pass": {"acceptance": _uniform(steps=length)},
        "full, 2 a pass": {"acceptance": _uniform(steps=length // 2)},
        "full + EOSER 0.4, 2 a pass": {
            "acceptance": _uniform(steps=length // 2), "confidence_transforms": _eoser(0.4)},
        "semi-AR, 2 a pass": {"acceptance": _uniform(steps=length // 2), "planner": block},
        "semi-AR, 1 a pass": {"acceptance": _uniform(steps=length), "planner": block},
        "ASS": {"acceptance": ASCENDING},
        "uniform, log2 L passes": {"acceptance": _uniform(steps=steps)},
        "EOSER 0.01 + ASS": {"acceptance": ASCENDING, "confidence_transforms": _eoser(0.01)},
        "EOSER 0.01 + uniform, log2 L passes": {
            "acceptance": _uniform(steps=steps), "confidence_transforms": _eoser(0.01)},
        "EOSER 0.01 + ASS, 3 blocks": {
            "acceptance": ASCENDING, "confidence_transforms": _eoser(0.01),
            "planner": {"name": "ascending_blocks", "blocks": 3}},
        "EOSER 0.01 + cosine": {
            "acceptance": {"name": "fixed_count", "schedule": {"name": "cosine", "steps": steps}},
            "confidence_transforms": _eoser(0.01)},
    }  # fmt: skip
    for name, rule in sure.items():
        table[f"full, {name}"] = {"acceptance": rule}
        table[f"EOSER 0.4, {name}"] = {
            "acceptance": rule, "confidence_transforms": _eoser(0.4)}  # fmt: skip
    table["semi-AR, threshold 0.9"] = {"acceptance": threshold, "planner": block}
    table["semi-AR, threshold 0.9, EOS stop"] = {
        "acceptance": threshold, "planner": block, "stop": {"eos": True}}  # fmt: skip
    return table


def _sudoku() -> dict[str, Settings]:
    one = _uniform(per_pass=1)
    table: dict[str, Settings] = {
        "1 a pass": {"acceptance": one},
        "2 a pass": {"acceptance": _uniform(per_pass=2)},
        "4 a pass": {"acceptance": _uniform(per_pass=4)},
        "1 a pass, random order": {"acceptance": one, "confidence": "random"},
        "1 a pass, margin": {"acceptance": one, "confidence": "margin"},
        "1 a pass, neg. entropy": {"acceptance": one, "confidence": "neg_entropy"},
    }
    for tau in (0.99, 0.95, 0.9, 0.8):
        table[f"threshold {tau}"] = {"acceptance": {"name": "threshold", "tau": tau}}
    for factor in (0.1, 0.5):
        table[f"factor {factor}"] = {"acceptance": {"name": "factor", "factor": factor}}
    table["hierarchical 0.95/0.6"] = {
        "acceptance": {"name": "hierarchical", "high": 0.95, "low": 0.6}}  # fmt: skip
    for gamma in (0.01, 0.1):
        table[f"entropy bound {gamma}"] = {"acceptance": {"name": "entropy_bound", "gamma": gamma}}
    return table


RECORDED: dict[str, dict[str, float]] = {
    "chain_sum": {
        "full, 1 a pass": 0.950,
        "full, 2 a pass": 0.875,
        "full + EOSER 0.4, 2 a pass": 0.974,
        "semi-AR, 2 a pass": 0.868,
        "semi-AR, 1 a pass": 0.961,
        "ASS": 0.491,
        "uniform, log2 L passes": 0.664,
        "EOSER 0.01 + ASS": 0.978,
        "EOSER 0.01 + uniform, log2 L passes": 0.950,
    },
    "sudoku9": {
        "1 a pass": 1.000,
        "2 a pass": 0.971,
        "4 a pass": 0.573,
        "1 a pass, random order": 0.799,
        "threshold 0.99": 0.997,
        "threshold 0.95": 0.961,
        "threshold 0.9": 0.845,
        "threshold 0.8": 0.516,
    },
}
"""Accuracies of earlier runs with other weights: what a table is held against."""

RECORDED_SHARES = {
    "full, 1 a pass": 0.49,
    "full, 2 a pass": 0.50,
    "full + EOSER 0.4, 2 a pass": 0.97,
    "semi-AR, 2 a pass": 0.72,
    "semi-AR, 1 a pass": 0.79,
    "ASS": 0.48,
    "uniform, log2 L passes": 0.53,
    "EOSER 0.01 + ASS": 0.92,
    "EOSER 0.01 + uniform, log2 L passes": 0.97,
}
"""Shares of answers with running sums in those of chain sums.

Half of the training answers have them, at random, and one style is harder than the other; which a
model leans to where both are as probable is chance, and differs from training to training.
"""


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a share."""
    if n < 1:
        raise ValueError(f"wilson wants n >= 1, got {n}")
    share = hits / n
    centre = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    return centre - half, centre + half


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Return the mean and the half width of its normal 95 % interval."""
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return float(values.mean()), Z * spread / math.sqrt(len(values))


def measure(
    bed: Bed,
    denoiser: TransformerDenoiser,
    settings: Settings,
    prompts: PromptBatch,
    answers: np.ndarray,
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """Decode a test set with one composition and return its figures.

    The set is decoded twice; seconds are of the second time, when every CUDA graph exists.
    """
    settings = {"stop": {"eos": False}, **settings}
    decoder = build_decoder(settings, denoiser)
    decoder.generate(prompts, bed.length, seed=seed)
    _wait(prompts)
    begin = time.perf_counter()
    result = decoder.generate(prompts, bed.length, seed=seed)
    _wait(prompts)
    seconds = time.perf_counter() - begin
    right = bed.judge(result.tokens.cpu(), answers)
    figures: dict[str, Any] = {
        "settings": settings,
        "n": len(right),
        "accuracy": float(right.mean()),
        "accuracy_interval": wilson(int(right.sum()), len(right)),
        "seconds": seconds,
        "passes_of_the_slowest": int(result.nfe.max()),
        "seconds_a_pass": seconds / max(1, int(result.nfe.max())),
        "tokens_per_s": float(result.stats()["tpf"].double() @ result.nfe.double()) / seconds,
    }
    for name, values in result.stats().items():
        figures[name], figures[f"{name}_half_interval"] = mean_interval(
            values.double().cpu().numpy()
        )
    if bed.name.startswith("chain_sum"):
        figures |= _styles(answers_of(result.tokens.cpu()), right)
    return figures


def _styles(texts: list[str], right: np.ndarray) -> dict[str, Any]:
    """Return the share of answers with running sums, how right each style is, and wrong texts."""
    sums = np.array(["=" in text for text in texts])
    groups = {"accuracy_with_sums": sums, "accuracy_without": ~sums}
    return {
        "with_running_sums": float(sums.mean()),
        **{name: float(right[of].mean()) for name, of in groups.items() if of.any()},
        "wrong_texts": [texts[k] for k in np.flatnonzero(~right)[:5]],
    }


def accuracy_at(share: float, figures: dict[str, Any]) -> float | None:
    """Return what the accuracy were, had this share of the answers running sums.

    ``None`` where one of the styles never occurred.
    """
    styles = [figures.get(name) for name in ("accuracy_with_sums", "accuracy_without")]
    if styles[0] is None or styles[1] is None:
        return None
    return float(share * styles[0] + (1.0 - share) * styles[1])


def _wait(prompts: PromptBatch) -> None:
    if prompts.ids.is_cuda:
        torch.cuda.synchronize()


def line(name: str, figures: dict[str, Any], recorded: float | None = None) -> str:
    """Return one row of the printed table."""
    low, high = figures["accuracy_interval"]
    sums, at_share = figures.get("with_running_sums"), figures.get("at_that_share")
    return (
        f"{name:38} {figures['accuracy']:.3f} [{low:.3f}, {high:.3f}] "
        f"{'' if recorded is None else f'{recorded:.3f}':>5} "
        f"{figures['nfe']:6.2f} {figures['tpf']:6.2f} {figures['useful_tpf']:6.2f} "
        f"{figures['tokens_per_branch_forward']:6.2f} {figures['seconds']:7.2f}"
        f"{'' if sums is None else f'  {sums:.2f}'}{'' if at_share is None else f' {at_share:.3f}'}"
    )


HEADER = (
    f"{'composition':38} acc.  95 % interval  recorded    NFE    TPF useful /branch seconds  sums"
    "  at recorded share"
)


def table_of(
    bed: Bed,
    denoiser: TransformerDenoiser,
    *,
    device: str = "cpu",
    n: int | None = None,
    seed: int = 0,
    only: str = "",
    recorded_alone: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, dict[str, Any]]:
    """Measure every composition whose name holds ``only``; print lines as they come.

    ``recorded_alone`` keeps to those of :data:`RECORDED`.
    """
    prompts, answers = bed.test(seed, N if n is None else n)
    prompts = to_device(prompts, device)
    say(f"{bed.name}, n = {len(prompts)}\n{HEADER}")
    found: dict[str, dict[str, Any]] = {}
    for name, settings in compositions(bed).items():
        recorded = RECORDED.get(bed.name, {}).get(name)
        if only in name and not (recorded_alone and recorded is None):
            figures = measure(bed, denoiser, settings, prompts, answers, seed=seed)
            if bed.name == "chain_sum" and name in RECORDED_SHARES:
                share = RECORDED_SHARES[name]
                figures |= {"recorded_share": share, "at_that_share": accuracy_at(share, figures)}
            found[name] = figures | {"recorded": recorded}
            say(line(name, figures, recorded))
    return found


def to_device(prompts: PromptBatch, device: str) -> PromptBatch:
    """Return prompts on a device."""
    given = None if prompts.given is None else prompts.given.to(device)
    return replace(prompts, ids=prompts.ids.to(device), real=prompts.real.to(device), given=given)


# -- models -------------------------------------------------------------------------------------


def save_model(model: Transformer, path: Path, detail: dict[str, Any]) -> None:
    """Write the weights with what is known of their training."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(path, dict(model.state_dict()), {"detail": json.dumps(detail)})


def load_model(bed: Bed, path: Path) -> Transformer:
    """Return a bed's model with the weights of a file."""
    model = Transformer(bed.model)
    model.load_state_dict(load_tensors(path))
    return model.eval().requires_grad_(False)


def trained_model(bed: Bed, folder: Path, say: Callable[[str], None]) -> Transformer:
    """Return the model of a folder, trained on this machine where it is not there yet."""
    path = folder / f"{bed.name}.safetensors"
    if path.exists():
        say(f"{bed.name}: weights of {path}")
        return load_model(bed, path)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    say(f"{bed.name}: no weights in {path}: training {bed.steps} updates on {device}")
    made = train(bed, device=device, workers=cores(), say=say)
    save_model(made.model, path, made.detail | {"losses": made.losses})
    return load_model(bed, path)


def decode(
    repeats: int,
    say: Callable[[str], None],
    only: str = "",
    keep: Callable[[list[Row]], None] = lambda rows: None,
) -> list[Row]:
    """Print the tables of the small beds, or on CUDA of the standard ones.

    ``only`` is ``BED`` or ``BED/TEXT``: compositions of that bed whose name holds the text. Models
    are trained where ``runs/bench/decode`` has none. Each repeat decodes other prompts; seconds and
    accuracies are of the last.
    """
    cuda = torch.cuda.is_available()
    standard = ("chain_sum", "sudoku9") if cuda else ("chain_sum_small", "sudoku4")
    wanted, _, text = only.partition("/")
    rows: list[Row] = []
    for name in [wanted] if wanted in BEDS else standard:
        if wanted not in BEDS:
            text = only
        bed = BEDS[name]()
        model = trained_model(bed, CACHE, say)
        if cuda:
            model = model.to("cuda", torch.bfloat16)
        for repeat in range(repeats):
            found = table_of(
                bed,
                TransformerDenoiser(model),
                device="cuda" if cuda else "cpu",
                seed=repeat,
                only=text,
                say=say,
            )
        careful = next(iter(found.values()), None)
        rows += [_row(bed, name, figures, careful) for name, figures in found.items()]
        keep(rows)
    return rows


def _row(bed: Bed, name: str, figures: dict[str, Any], careful: dict[str, Any] | None) -> Row:
    """Return a composition's accuracy against that of the table's first, one position a pass."""
    peer = figures["accuracy"] if careful is None else careful["accuracy"]
    ratio = figures["accuracy"] / peer if peer else 0.0
    return Row(
        metric=f"{bed.name}: {name}",
        unit="accuracy",
        ours=figures["accuracy"],
        peer=peer,
        peer_name="first of the table",
        ratio_median=ratio,
        ratio_min=ratio,
        ratio_max=ratio,
        repeats=1,
        detail=figures,
    )
