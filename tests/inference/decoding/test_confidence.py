"""Confidences against the softmax they are named after; early rejection against its formulas."""

import pytest
import torch

from rlcore.errors import ConfigError
from rlcore.inference.decoding.acceptance import FixedCount, Threshold
from rlcore.inference.decoding.confidence import Confidence, Drawn
from rlcore.inference.decoding.confidence_transforms import EOSEarlyRejection
from rlcore.inference.decoding.noise import POSITION_STREAM, uniform
from rlcore.inference.decoding.prompts import PromptBatch
from rlcore.inference.decoding.schedules import (
    AscendingSchedule,
    CosineSchedule,
    UniformSchedule,
    ascending_counts,
)
from rlcore.inference.decoding.state import DecodeState
from rlcore.ops.sampling import head_statistics
from rlcore.ops.sampling.counter_rng import TOKEN_STREAM

ROWS, L, V = 3, 8, 6
EOS, EOT = 1, 4


def state_of(schedule=None, length=L):
    state = DecodeState.begin(PromptBatch.from_lists([[2]] * ROWS), length, 0, torch.arange(ROWS))
    if schedule is not None:
        FixedCount(schedule).begin(state, [length])
    return state


def drawn_of(seed=0, length=L):
    g = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(ROWS, length, V, generator=g, dtype=torch.float64)
    logits[..., 0] = -torch.inf
    tokens = torch.randint(1, V, (ROWS, length), generator=g)
    positions = torch.arange(length).expand(ROWS, -1)
    every = torch.ones(ROWS, length, dtype=torch.bool)
    return Drawn(positions, every, every[:, 0], tokens, logits, head_statistics(logits))


def test_confidences_are_functions_of_the_untempered_softmax():
    drawn, state = drawn_of(), state_of()
    probs = torch.softmax(drawn.logits, -1)
    of_token = probs.gather(-1, drawn.tokens[..., None])[..., 0]
    top2 = probs.topk(2).values
    others = probs.scatter(-1, drawn.tokens[..., None], 0.0).amax(-1)
    log = torch.where(probs > 0, probs.log(), 0.0)
    wanted = {
        ("prob", None): of_token,
        ("prob", "sample"): of_token,
        ("prob", "distribution"): top2[..., 0],
        ("max_prob", None): top2[..., 0],
        ("margin", None): top2[..., 0] - top2[..., 1],
        ("margin", "sample"): of_token - others,
        ("neg_entropy", None): (probs * log).sum(-1),
    }
    for (name, of), value in wanted.items():
        confidence = Confidence(name, of)
        assert torch.allclose(confidence(drawn, state), value, atol=1e-12, rtol=0)
        assert confidence.of_sample == (of == "sample" or (name, of) == ("prob", None))
    first = Confidence("random")(drawn, state)
    assert first.unique().numel() == first.numel()
    state.step += 1
    assert not torch.equal(first, Confidence("random")(drawn, state))
    # Its numbers are none of those that pick tokens: a position must not be early for its token.
    wanted = uniform(state.key, drawn.positions, state.step, POSITION_STREAM)
    assert torch.equal(Confidence("random")(drawn, state), wanted.double())
    assert POSITION_STREAM != TOKEN_STREAM


def test_bad_confidences():
    with pytest.raises(ConfigError, match=r"confidence must be one of .* got 'sure'"):
        Confidence("sure")
    with pytest.raises(ConfigError, match=r"of must be one of .* got 'both'"):
        Confidence("prob", "both")
    for name in ("max_prob", "neg_entropy", "random"):
        with pytest.raises(ConfigError, match="of must be 'distribution', got 'sample'"):
            Confidence(name, "sample")


def gains(rule, state, steps):
    found = []
    for _ in range(steps):
        found.append(float(rule.gain(state)[0]))
        state.step += 1
    return found


def test_published_clock():
    uniform = UniformSchedule(steps=4)
    rule = EOSEarlyRejection(0.4, 0.9).bound(FixedCount(uniform), (EOS,))
    assert gains(rule, state_of(uniform), 4) == pytest.approx(
        [0.4, 0.4 + 0.5 / 3, 0.9 - 0.5 / 3, 0.9]
    )
    single = UniformSchedule(steps=1)
    assert gains(
        EOSEarlyRejection(0.4, 0.9).bound(FixedCount(single), (EOS,)), state_of(single), 1
    ) == [0.9]
    cosine = CosineSchedule(4)
    rule = EOSEarlyRejection(0.0, 1.0).bound(FixedCount(cosine), (EOS,))
    assert gains(rule, state_of(cosine), 4) == pytest.approx([0, 1 / 3, 2 / 3, 1])


@pytest.mark.parametrize("length", [64, 100, 128])
def test_ascending_clock(length):
    schedule = AscendingSchedule()
    steps = len(ascending_counts(length))
    rule = EOSEarlyRejection(0.01, 1.0).bound(FixedCount(schedule), (EOS,))
    found = gains(rule, state_of(schedule, length), steps)
    assert found == pytest.approx(
        [0.01 + 0.99 * (2 ** (s + 1) - 1) / 2**steps for s in range(steps)], abs=1e-12
    )
    assert found == sorted(found)
    assert found[0] == pytest.approx(0.01 + 0.99 / 2**steps)
    assert found[-1] == pytest.approx(0.01 + 0.99 * (1 - 2.0**-steps))


def test_filled_clock_is_the_share_committed_after_the_pass():
    schedule = AscendingSchedule()
    rule = EOSEarlyRejection(0.0, 1.0, clock="filled").bound(FixedCount(schedule), (EOS,))
    state = state_of(schedule, 64)
    shares = []
    for count in ascending_counts(64):
        shares.append(float(rule.gain(state)[0]))
        place = int((state.commit_step[0] >= 0).sum())
        state.commit_step[:, place : place + count] = state.step[0]
        state.step += 1
    assert shares[:-1] == [(2 ** (s + 1) - 1) / 64 for s in range(5)]
    assert shares[-1] == 1.0
    loose = EOSEarlyRejection(0.0, 1.0).bound(Threshold(0.9), (EOS,))
    assert loose.clock == "filled"
    state = state_of()
    state.commit_step[0, :3] = 0
    assert loose.gain(state).tolist() == [4 / 8, 1 / 8, 1 / 8]


def test_only_end_tokens_are_held_back_whatever_the_sign():
    drawn, schedule = drawn_of(), UniformSchedule(steps=4)
    state = state_of(schedule)
    logits, tokens = drawn.logits.clone(), drawn.tokens.clone()
    rule = EOSEarlyRejection(0.25, eos_ids=(EOS, EOT)).bound(FixedCount(schedule), (EOS,))
    ends = (tokens == EOS) | (tokens == EOT)
    assert ends.any()
    assert not ends.all()
    for name in ("prob", "neg_entropy"):
        value = Confidence(name)(drawn, state)
        changed = rule(value, drawn, state)
        assert torch.equal(changed[~ends], value[~ends])
        factor = 0.25 if name == "prob" else 4.0
        assert torch.allclose(changed[ends], value[ends] * factor, atol=1e-12)
        assert (changed[ends] < value[ends]).all()
    assert torch.equal(drawn.logits, logits)
    assert torch.equal(drawn.tokens, tokens)
    zero = EOSEarlyRejection(0.0).bound(FixedCount(schedule), (EOS,))
    assert not zero(Confidence("neg_entropy")(drawn, state), drawn, state).isnan().any()


def test_bad_early_rejection():
    fixed = FixedCount(UniformSchedule(steps=4))
    with pytest.raises(ConfigError, match=r"0 <= gamma_min <= gamma_max <= 1, got 0.9 and 0.4"):
        EOSEarlyRejection(0.9, 0.4)
    with pytest.raises(ConfigError, match="clock must be one of"):
        EOSEarlyRejection(clock="wall")
    with pytest.raises(ConfigError, match="got Threshold; use clock 'filled'"):
        EOSEarlyRejection(clock="published").bound(Threshold(), (EOS,))
    with pytest.raises(ConfigError, match="names no eos_id"):
        EOSEarlyRejection().bound(fixed, ())
