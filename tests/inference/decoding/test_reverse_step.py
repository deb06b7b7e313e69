"""One pass: what transforms change, and that rows which are done stay as they are."""

from dataclasses import replace

import pytest
import torch

from rlcore.inference.decoding import PromptBatch, build_decoder
from rlcore.inference.decoding.logit_transforms import TopK, TopP
from rlcore.inference.decoding.noise import row_keys
from rlcore.inference.decoding.reverse_step import draw, reverse_step
from rlcore.inference.decoding.state import DecodeState
from tests.inference.decoding.denoisers import EOS, MASK, Mixing
from tests.inference.decoding.test_pipeline import PROMPTS, UNIFORM, L


class Ban:
    """A logit transform that takes one token away."""

    def __init__(self, token, affects):
        self.token, self.affects = token, affects

    def begin(self, state):
        pass

    def __call__(self, logits, plan, state, temperature):
        return logits.index_fill(-1, torch.tensor(self.token), -torch.inf)


@pytest.mark.parametrize("affects", ["law", "confidence", "both"])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_transform_changes_what_it_says(affects, temperature):
    """A ban on a token that the model would take: of the draw, of the ranking, or of both."""
    ban = Ban(5, affects)
    parts = replace(
        build_decoder({"acceptance": UNIFORM, "temperature": temperature}, Mixing(seed=4)).parts,
        logit_transforms=(ban,),
    )
    prompts = PromptBatch.from_lists(PROMPTS)
    state = DecodeState.begin(prompts, L, MASK, row_keys(3, torch.arange(4)))
    plan = parts.planner.plan(state)
    raw = parts.cache.logits(parts.denoiser, state, plan, 0.0)
    drawn, log_probs = draw(parts, state, plan, raw)
    plain, _ = draw(replace(parts, logit_transforms=()), state, plan, raw)
    assert (plain.tokens == 5).any()
    if affects == "confidence":
        assert torch.equal(drawn.tokens, plain.tokens)
    else:
        assert not (drawn.tokens == 5).any()
        kept = plain.tokens != 5
        assert torch.equal(drawn.tokens[kept], plain.tokens[kept])
    assert torch.equal(drawn.logits, raw if affects == "law" else ban(raw, plan, state, 1.0))
    assert torch.equal(drawn.head.top_id, drawn.logits.argmax(-1))
    own = torch.log_softmax(raw / (temperature or 1.0), -1)
    wanted = own.gather(-1, drawn.tokens[..., None])[..., 0]
    assert torch.allclose(log_probs.double(), wanted, atol=1e-6, rtol=0)


def test_truncation_by_hand():
    law = torch.tensor([[[0.125, 0.5, 0.25, 0.125]]], dtype=torch.float64)

    def kept(rule, temperature=1.0):
        return torch.isfinite(rule(law.log(), None, None, temperature))[0, 0].tolist()

    assert kept(TopK(2)) == [False, True, True, False]
    assert kept(TopK(3)) == [True] * 4  # equals of the third stay
    # Half the mass is reached by the first token exactly.
    assert kept(TopP(0.5)) == [False, True, False, False]
    assert kept(TopP(0.51)) == [False, True, True, False]
    assert kept(TopP(1e-9)) == [False, True, False, False]
    # At temperature 2 the weights are as 1 : 2 : sqrt(2) : 1, and the first has 0.37.
    assert kept(TopP(0.5), 2.0) == [False, True, True, False]


def test_a_row_that_is_not_active_stays_as_it_is():
    """Rows that are done wait among the others until they are dropped."""
    parts = build_decoder({"acceptance": UNIFORM, "temperature": 0.8}, Mixing()).parts
    prompts = PromptBatch.from_lists(PROMPTS)
    state = DecodeState.begin(prompts, L, MASK, row_keys(3, torch.arange(4)))
    parts.acceptance.begin(state, [L])
    state.active[1] = False
    state.response[1, 0], state.commit_step[1, 0] = EOS, 0  # nor is its tail filled up
    before = dict(state.take(torch.arange(4)).tensors())
    reverse_step(parts, state)
    assert state.step.tolist() == [1, 0, 1, 1]
    assert state.masked.sum(1)[1] == L - 1 > state.masked.sum(1).sum() // 4
    for name, value in state.tensors():
        assert torch.equal(value[1], before[name][1]), name
