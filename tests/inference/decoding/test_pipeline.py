"""The pipeline against plain loops, its identities, its invariance, its refusals."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlcore.errors import ConfigError, NonFiniteError
from rlcore.inference.decoding import PromptBatch, PromptError, build_decoder
from rlcore.inference.decoding.registry import REGISTRY
from rlcore.inference.decoding.schedules import ascending_block_sizes, ascending_counts
from rlcore.inference.decoding.state import FILLED, GIVEN, MASKED
from tests.inference.decoding.denoisers import EOS, MASK, Mixing, Table, plain_decode, ranked

L = 16
PROMPTS = [[2, 3, 4], [5], [6, 6, 2, 3], [3, 2]]
UNIFORM = {"name": "fixed_count", "schedule": {"name": "uniform", "steps": 8}}
ASCENDING = {"name": "fixed_count", "schedule": "ascending"}
EOSER = {"name": "eos_early_rejection", "gamma_min": 0.05}


def decode(cfg, prompts=PROMPTS, denoiser=None, seed=3, length=L, **more):
    decoder = build_decoder({"stop": {"eos": False}, **cfg}, denoiser or Mixing())
    return decoder.generate(PromptBatch.from_lists(prompts, **more), length, seed=seed)


# -- against the plain loops --------------------------------------------------------------------


def surest(count):
    return lambda items, step, block_step: [
        i for _, i, _ in ranked(items)[: count(step, block_step)]
    ]


def above(tau):
    def accept(items, step, block_step):
        return [i for c, i, _ in items if c > tau] or [ranked(items)[0][1]]

    return accept


def factor(f):
    def accept(items, step, block_step):
        order = ranked(items)
        holds = [n for n in range(1, len(order) + 1) if (n + 1) * (1 - order[n - 1][0]) < f]
        return [i for _, i, _ in order[: max(holds, default=1)]]

    return accept


def bounded(gamma):
    def accept(items, step, block_step):
        order = sorted(items, key=lambda item: (item[2], item[1]))
        taken = []
        for n in range(1, len(order) + 1):
            if sum(sorted(h for _, _, h in order[:n])[:-1]) <= gamma:
                taken = order[:n]
        return [i for _, i, _ in taken]

    return accept


def prob(probs, token):
    return probs[token]


def margin(probs, token):
    return probs[token] - max(p for v, p in enumerate(probs) if v != token)


def top_margin(probs, token):
    first, second = sorted(probs.tolist())[-2:][::-1]
    return first - second


def neg_entropy(probs, token):
    return sum(p * math.log(p) for p in probs.tolist() if p > 0)


ASC = ascending_counts(L)
CASES = {
    "uniform": ({"acceptance": UNIFORM}, [L], prob, surest(lambda s, b: 2), None),
    "uniform_margin_of_sample": (
        {"acceptance": UNIFORM, "confidence": {"name": "margin", "of": "sample"}},
        [L], margin, surest(lambda s, b: 2), None,
    ),
    "margin": (
        {"acceptance": UNIFORM, "confidence": "margin"},
        [L], top_margin, surest(lambda s, b: 2), None,
    ),
    "max_prob": (
        {"acceptance": UNIFORM, "confidence": {"name": "prob", "of": "distribution"}},
        [L], lambda probs, token: max(probs), surest(lambda s, b: 2), None,
    ),
    "semi_ar_uniform": (
        {"acceptance": UNIFORM, "planner": {"name": "semi_ar", "block_length": 4}},
        [4] * 4, prob, surest(lambda s, b: 2), None,
    ),
    "remainder_first": (
        {"acceptance": {"name": "fixed_count", "schedule": {"name": "uniform", "steps": 3}}},
        [L], prob, surest(lambda s, b: [6, 5, 5][s]), None,
    ),
    "ascending": ({"acceptance": ASCENDING}, [L], prob, surest(lambda s, b: ASC[s]), None),
    "ascending_blocks": (
        {"acceptance": ASCENDING, "planner": {"name": "ascending_blocks", "blocks": 3}},
        ascending_block_sizes(L, 3), prob, surest(lambda s, b: ASC[s]), None,
    ),
    "threshold": (
        {"acceptance": {"name": "threshold", "tau": 0.6}}, [L], prob, above(0.6), None,
    ),
    "semi_ar_threshold": (
        {"acceptance": {"name": "threshold", "tau": 0.6},
         "planner": {"name": "semi_ar", "block_length": 8}},
        [8, 8], prob, above(0.6), None,
    ),
    "factor": ({"acceptance": {"name": "factor", "factor": 1.2}}, [L], prob, factor(1.2), None),
    "entropy_bound": (
        {"acceptance": {"name": "entropy_bound", "gamma": 0.9}},
        [L], neg_entropy, bounded(0.9), None,
    ),
    "eoser_published": (
        {"acceptance": UNIFORM, "confidence_transforms": [EOSER]},
        [L], prob, surest(lambda s, b: 2), lambda s: 0.05 + 0.95 * s / 7,
    ),
    "eoser_filled": (
        {"acceptance": UNIFORM, "confidence_transforms": [{**EOSER, "clock": "filled"}]},
        [L], prob, surest(lambda s, b: 2), lambda s: 0.05 + 0.95 * (s + 1) / 8,
    ),
    "eoser_ascending": (
        {"acceptance": ASCENDING, "confidence_transforms": [EOSER]},
        [L], prob, surest(lambda s, b: ASC[s]),
        lambda s: 0.05 + 0.95 * (2 ** (s + 1) - 1) / 2 ** len(ASC),
    ),
    "eoser_neg_entropy": (
        {"acceptance": UNIFORM, "confidence": "neg_entropy", "confidence_transforms": [EOSER]},
        [L], neg_entropy, surest(lambda s, b: 2), lambda s: 0.05 + 0.95 * s / 7,
    ),
    "eoser_semi_ar": (
        {"acceptance": UNIFORM, "confidence_transforms": [EOSER],
         "planner": {"name": "semi_ar", "block_length": 8}},
        [8, 8], prob, surest(lambda s, b: 2), lambda s: 0.05 + 0.95 * s / 7,
    ),
    "eoser_ascending_blocks": (
        {"acceptance": ASCENDING, "confidence_transforms": [EOSER],
         "planner": {"name": "ascending_blocks", "blocks": 2}},
        ascending_block_sizes(L, 2), prob, surest(lambda s, b: ASC[s]),
        lambda s: 0.05 + 0.95 * (2 ** (s + 1) - 1) / 2 ** len(ASC),
    ),
}  # fmt: skip


@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("case", CASES)
def test_tokens_and_steps_are_those_of_plain_loops(case, temperature):
    cfg, blocks, confidence, accept, eoser = CASES[case]
    denoiser = Mixing(seed=4)
    result = decode({**cfg, "temperature": temperature}, denoiser=denoiser)
    for row, prompt in enumerate(PROMPTS):
        tokens, steps = plain_decode(
            denoiser, prompt, L, blocks=blocks, confidence=confidence, accept=accept,
            temperature=temperature, eoser=eoser, seed=3, row_id=row,
        )  # fmt: skip
        assert result.tokens[row].tolist() == tokens
        assert result.commit_step[row].tolist() == steps
        assert int(result.nfe[row]) == max(steps) + 1
    assert len(set(map(tuple, result.tokens.tolist()))) > 1


def test_the_filled_clock_counts_at_least_one_position_where_no_schedule_tells():
    denoiser = Mixing(seed=4)
    committed = []

    def accept(items, step, block_step):
        taken = above(0.6)(items, step, block_step)
        committed.append(len(taken))
        return taken

    cfg = {"acceptance": {"name": "threshold", "tau": 0.6}, "confidence_transforms": [EOSER]}
    result = decode(cfg, prompts=PROMPTS[:1], denoiser=denoiser)
    tokens, steps = plain_decode(
        denoiser, PROMPTS[0], L, blocks=[L], confidence=prob, accept=accept, seed=3,
        eoser=lambda s: 0.05 + 0.95 * (sum(committed[:s]) + 1) / L,
    )  # fmt: skip
    assert result.tokens[0].tolist() == tokens
    assert result.commit_step[0].tolist() == steps


def test_log_probs_are_the_model_s_own():
    """Replayed in float64 from the record: tempered, before EOSER, top-k or noise."""
    denoiser = Mixing(seed=4)
    cfg = {"acceptance": UNIFORM, "temperature": 0.7, "confidence_transforms": [EOSER],
           "logit_transforms": [{"name": "top_k", "k": 3}]}  # fmt: skip
    result = decode(cfg, denoiser=denoiser)
    for row, prompt in enumerate(PROMPTS):
        for step in range(8):
            known = (result.commit_step[row] >= 0) & (result.commit_step[row] < step)
            response = result.tokens[row].where(known, torch.tensor(MASK))
            ids = torch.cat([torch.tensor(prompt), response])[None]
            logits = denoiser(ids)[0, len(prompt) :] / 0.7
            logits[:, MASK] = -math.inf
            wanted = torch.log_softmax(logits, -1)
            for i in (result.commit_step[row] == step).nonzero()[:, 0]:
                assert float(result.log_probs[row, i]) == pytest.approx(
                    float(wanted[i, result.tokens[row, i]]), abs=1e-6
                )


# -- invariants ---------------------------------------------------------------------------------

ACCEPTANCES = [
    UNIFORM,
    {"name": "fixed_count", "schedule": {"name": "cosine", "steps": 4}},
    {"name": "threshold", "tau": 0.5},
    {"name": "factor", "factor": 1.0},
    {"name": "hierarchical", "high": 0.95, "low": 0.8},
    {"name": "entropy_bound", "gamma": 1.0},
]
PLANNERS = ["full", {"name": "semi_ar", "block_length": 8}]


def settings_of(acceptance, planner, eoser, temperature=0.8):
    if isinstance(planner, dict) and acceptance.get("schedule", {}).get("name") == "cosine":
        acceptance = {"name": "fixed_count", "schedule": {"name": "cosine", "steps": 4}}
    rules = [{**EOSER, "clock": None}] if eoser else []
    return {"acceptance": acceptance, "planner": planner, "confidence_transforms": rules,
            "temperature": temperature}  # fmt: skip


@pytest.mark.parametrize("eoser", [False, True])
@pytest.mark.parametrize("planner", PLANNERS, ids=["full", "semi_ar"])
@pytest.mark.parametrize("acceptance", ACCEPTANCES, ids=lambda a: a["name"])
def test_every_position_is_committed_once_in_its_window(acceptance, planner, eoser):
    result = decode(settings_of(acceptance, planner, eoser))
    assert (result.tokens != MASK).all()
    assert (result.commit_step >= 0).all()
    for row in range(len(PROMPTS)):
        steps = result.commit_step[row].tolist()
        assert set(steps) == set(range(int(result.nfe[row])))  # no empty pass
        if planner != "full":
            assert max(steps[:8]) < min(steps[8:])
        if acceptance is UNIFORM:
            assert set(Counter(steps).values()) == {2}
    assert torch.isfinite(result.log_probs).all()
    assert not result.truncated.any()


@pytest.mark.parametrize("planner", PLANNERS, ids=["full", "semi_ar"])
@pytest.mark.parametrize("acceptance", ACCEPTANCES, ids=lambda a: a["name"])
def test_rows_do_not_see_each_other(acceptance, planner):
    """Together, alone, permuted and with more padding: identical tokens, steps, log-probs."""
    cfg = settings_of(acceptance, planner, True)
    together = decode(cfg)
    permuted = decode(cfg, [PROMPTS[i] for i in (2, 0, 3, 1)], row_ids=[2, 0, 3, 1])
    for row, prompt in enumerate(PROMPTS):
        alone = decode(cfg, [prompt], row_ids=[row])
        wide = decode(cfg, [prompt, [2] * 9], row_ids=[row, 77])
        other = (2, 0, 3, 1).index(row)
        for name in ("tokens", "commit_step", "nfe", "branch_forwards"):
            value = getattr(together, name)[row]
            assert torch.equal(value, getattr(alone, name)[0])
            assert torch.equal(value, getattr(wide, name)[0])
            assert torch.equal(value, getattr(permuted, name)[other])
        assert torch.allclose(together.log_probs[row], alone.log_probs[0], atol=1e-6, rtol=0)
    if planner == "full" and acceptance["name"] != "fixed_count":
        assert together.nfe.min() < together.nfe.max()


@pytest.mark.parametrize("every", [1, 2, 3, 50])
def test_dropping_finished_rows_changes_nothing(every):
    cfg = {"acceptance": {"name": "threshold", "tau": 0.5}, "temperature": 0.8}
    denoiser = Mixing()
    wanted = decode(cfg, denoiser=denoiser)
    calls = denoiser.calls
    denoiser.calls = 0
    found = decode({**cfg, "compact_every": every}, denoiser=denoiser)
    for name in ("tokens", "commit_step", "nfe", "log_probs"):
        assert torch.equal(getattr(wanted, name), getattr(found, name))
    # Passes go on until the slowest row is done, and at most to the next look.
    slowest = int(wanted.nfe.max())
    assert denoiser.calls == min(-(-slowest // every) * every, L)
    assert calls >= slowest


def test_same_seed_same_tokens_other_seed_other_tokens():
    cfg = {"acceptance": UNIFORM, "temperature": 1.0}
    first, again, other = decode(cfg), decode(cfg), decode(cfg, seed=4)
    assert torch.equal(first.tokens, again.tokens)
    assert not torch.equal(first.tokens, other.tokens)
    rows = decode(cfg, [PROMPTS[0]] * 3)
    assert len(set(map(tuple, rows.tokens.tolist()))) == 3


# -- identities ---------------------------------------------------------------------------------


def same(a, b):
    for name in ("tokens", "commit_step", "nfe", "log_probs"):
        assert torch.equal(getattr(a, name), getattr(b, name))


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), temperature=st.sampled_from([0.0, 1.0]))
def test_identities(seed, temperature):
    model = Mixing(seed=seed)

    def run(**cfg):
        return decode({"temperature": temperature, **cfg}, denoiser=model)

    one = {"name": "fixed_count", "schedule": {"name": "uniform", "per_pass": 1}}
    ones = {"name": "fixed_count", "schedule": {"name": "custom", "counts": [1] * L}}
    single = run(acceptance=one)
    same(single, run(acceptance={"name": "threshold", "tau": 1.1}))
    same(single, run(acceptance=ones))
    same(single, run(acceptance=one, planner={"name": "semi_ar", "block_length": L}))
    never = {"name": "eos_early_rejection", "gamma_min": 1.0}
    same(single, run(acceptance=one, confidence_transforms=[never]))
    blocks = {"name": "ascending_blocks", "blocks": 1}
    same(run(acceptance=ASCENDING), run(acceptance=ASCENDING, planner=blocks))
    wide = [{"name": "top_k", "k": 99}, {"name": "top_p", "p": 1.0}]
    same(run(acceptance=UNIFORM), run(acceptance=UNIFORM, logit_transforms=wide))


@pytest.mark.parametrize(
    ("kind", "name", "without"),
    [
        ("search", "lookahead", "branches: 0"),
        ("logit_transforms", "credit", "alpha: 0"),
        ("denoiser", "roe", "tau: 0"),
    ],
)
def test_identities_of_parts_to_come(kind, name, without):
    """Each is to equal the pipeline without it, bit for bit, at the setting that turns it off."""
    if name not in REGISTRY.get(kind, {}):
        pytest.skip(f"{kind} {name} is to come")
    pytest.fail(f"compare {kind} {name} at {without} with its absence, as test_identities does")


def test_block_causal_planner_is_semi_ar():
    class Blocked(Mixing):
        block_length = 4

        def __call__(self, ids, *, positions=None, padding=None, prompt_length=0):
            return super().__call__(ids, positions=positions, padding=padding)

    cfg = {"acceptance": UNIFORM}
    a = decode({**cfg, "planner": {"name": "block_causal", "block_length": 4}}, denoiser=Blocked())
    same(a, decode({**cfg, "planner": {"name": "semi_ar", "block_length": 4}}, denoiser=Mixing()))
    with pytest.raises(ConfigError, match="blocks of 8, the denoiser of 4"):
        build_decoder({"planner": {"name": "block_causal", "block_length": 8}}, Blocked())
    with pytest.raises(ConfigError, match="blocks of 8, the denoiser of None"):
        build_decoder({"planner": {"name": "block_causal", "block_length": 8}}, Mixing())


# -- eos, limits, given tokens ------------------------------------------------------------------


def scripted(tokens, order):
    """Return a model that is surest of ``tokens[i]`` in the given order of positions."""
    logits = torch.zeros(len(tokens), 5, dtype=torch.float64)
    for rank, i in enumerate(order):
        logits[i, tokens[i]] = 10.0 - rank
    return Table(logits, 1, EOS)


ONE = {"name": "fixed_count", "schedule": {"name": "uniform", "per_pass": 1}}


def test_the_eos_rule_waits_for_every_earlier_position():
    # Position 3 (EOS) is committed first, 5 second, then 0, 1, 2; 4 and 6 are never needed.
    model = scripted([2, 3, 4, EOS, 2, 3, 4], [3, 5, 0, 1, 2, 4, 6])
    result = decode({"acceptance": ONE, "stop": {}}, [[2]], model, length=7)
    assert result.tokens.tolist() == [[2, 3, 4, EOS, EOS, 3, EOS]]
    assert result.commit_step.tolist() == [[2, 3, 4, 0, FILLED, 1, FILLED]]
    assert int(result.nfe[0]) == 5
    assert result.log_probs[0, [4, 6]].tolist() == [0.0, 0.0]
    stats = result.stats()
    assert float(stats["tpf"][0]) == pytest.approx(7 / 5)
    assert float(stats["useful_tpf"][0]) == pytest.approx(4 / 5)
    assert float(stats["tokens_per_branch_forward"][0]) == pytest.approx(7 / 5)
    off = decode({"acceptance": ONE, "stop": {"eos": False}}, [[2]], model, length=7)
    assert off.tokens.tolist() == [[2, 3, 4, EOS, 2, 3, 4]]
    assert int(off.nfe[0]) == 7


def test_an_eos_behind_a_mask_does_not_end_a_row():
    model = scripted([2, EOS, EOS], [2, 1, 0])
    result = decode({"acceptance": ONE, "stop": {}}, [[2]], model, length=3)
    assert result.commit_step.tolist() == [[2, 1, 0]]


def test_a_limit_of_passes_truncates():
    result = decode({"acceptance": UNIFORM, "stop": {"eos": False, "max_nfe": 3}})
    assert result.truncated.all()
    assert result.nfe.tolist() == [3] * 4
    assert (result.commit_step == MASKED).sum(1).tolist() == [L - 6] * 4
    assert (result.tokens == MASK).sum(1).tolist() == [L - 6] * 4
    done = decode({"acceptance": UNIFORM, "stop": {"eos": False, "max_nfe": 8}})
    assert not done.truncated.any()
    # A limit beyond the schedule costs no pass, however seldom the rows are looked at.
    denoiser = Mixing()
    loose = {"acceptance": UNIFORM, "stop": {"eos": False, "max_nfe": 30}, "compact_every": 50}
    same(decode(loose, denoiser=denoiser), done)
    assert denoiser.calls == 8


def test_given_tokens_stay_and_are_seen():
    denoiser = Mixing(eos_id=None)
    clues = torch.full((4, L), -1)
    clues[:, 3], clues[1, 7], clues[2] = 5, 6, 4
    clues[2, 15] = -1
    cfg = {"acceptance": {"name": "fixed_count", "schedule": {"name": "uniform", "per_pass": 2}}}
    result = decode(cfg, denoiser=denoiser, given=clues)
    assert torch.equal(result.tokens[clues >= 0], clues[clues >= 0])
    assert torch.equal(result.commit_step == GIVEN, clues >= 0)
    assert result.nfe.tolist() == [8, 7, 1, 8]
    assert result.stats()["tpf"][2] == 1.0
    for row, prompt in enumerate(PROMPTS):
        tokens, steps = plain_decode(
            denoiser, prompt, L, blocks=[L], confidence=prob, accept=surest(lambda s, b: 2),
            given=clues[row].tolist(),
        )  # fmt: skip
        assert result.tokens[row].tolist() == tokens
        assert result.commit_step[row].tolist() == steps
    full = decode(cfg, denoiser=denoiser, given=torch.full((4, L), 3))
    assert full.nfe.tolist() == [0] * 4
    assert (full.tokens == 3).all()
    assert full.stats()["tpf"].tolist() == [0.0] * 4


def test_guidance_mixes_both_halves_and_counts_both():
    denoiser = Mixing(seed=9)
    plain = decode({"acceptance": UNIFORM}, denoiser=denoiser)
    guided = decode({"acceptance": UNIFORM, "cfg_scale": 1.5}, denoiser=denoiser)
    assert not torch.equal(plain.tokens, guided.tokens)
    assert guided.branch_forwards.tolist() == [16] * 4
    assert guided.nfe.tolist() == [8] * 4

    def mixed(ids):
        free = ids.clone()
        free[:, : len(prompt)] = MASK
        cond, uncond = denoiser(ids), denoiser(free)
        return uncond + 2.5 * (cond - uncond)

    mixed.mask_id, mixed.eos_id = MASK, EOS
    for row, prompt in enumerate(PROMPTS):
        tokens, _ = plain_decode(mixed, prompt, L, blocks=[L], confidence=prob,
                                 accept=surest(lambda s, b: 2))  # fmt: skip
        assert guided.tokens[row].tolist() == tokens


# -- refusals -----------------------------------------------------------------------------------


def test_bad_inputs():
    with pytest.raises(ValueError, match="gen_length 16 is not a multiple of block_length 5"):
        decode({"planner": {"name": "semi_ar", "block_length": 5}})
    with pytest.raises(ValueError, match="holds the mask token 0"):
        decode({}, [[2, MASK, 3]])
    with pytest.raises(PromptError, match="holds token 2 or 7, wanted 0 to 6"):
        decode({}, [[2, 7]])
    with pytest.raises(PromptError, match="given response holds the mask token"):
        decode({}, [[2]], given=torch.full((1, L), MASK))
    with pytest.raises(PromptError, match=r"given tokens must be \[1, 16\], got \(1, 4\)"):
        decode({}, [[2]], given=torch.full((1, 4), 3))
    with pytest.raises(ConfigError, match=r"gen_length must be in 1 .. 32767, got 0"):
        decode({}, length=0)
    with pytest.raises(ConfigError, match="wants gen_length"):
        build_decoder({}, Mixing()).generate(PromptBatch.from_lists(PROMPTS))
    with pytest.raises(PromptError, match="at least one prompt"):
        PromptBatch.from_lists([])
    with pytest.raises(PromptError, match="padded on the left"):
        PromptBatch(torch.ones(1, 2, dtype=torch.int64), torch.tensor([[True, False]]))
    with pytest.raises(PromptError, match=r"int64 \[B, P\], got torch.int32"):
        PromptBatch(torch.ones(1, 2, dtype=torch.int32), torch.ones(1, 2, dtype=torch.bool))
    with pytest.raises(PromptError, match="row_ids must be int64 with 1 rows"):
        PromptBatch.from_lists([[2]], row_ids=[1, 2])


def test_the_mask_token_is_never_drawn():
    class Eager(Mixing):
        def __call__(self, ids, **more):
            logits = super().__call__(ids, **more)
            logits[..., MASK] += 50.0
            return logits

    for temperature in (0.0, 2.0):
        result = decode({"acceptance": UNIFORM, "temperature": temperature}, denoiser=Eager())
        assert (result.tokens != MASK).all()


def test_logits_that_are_not_finite_are_an_error():
    class Broken(Mixing):
        def __call__(self, ids, **more):
            return super().__call__(ids, **more) * torch.nan

    with pytest.raises(NonFiniteError, match=r"rows \[0, 1, 2, 3\]"):
        decode({"acceptance": UNIFORM}, denoiser=Broken())
