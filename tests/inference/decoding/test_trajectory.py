"""States rebuilt from the record, log-probabilities scored again, refusals."""

import pytest
import torch

from rlcore.inference.decoding import (
    InexactRollout,
    PromptBatch,
    Recorder,
    TrajectoryNotMonotone,
    build_decoder,
    replay,
    replay_log_probs,
)
from rlcore.inference.decoding.pipeline import DecodingPipeline
from rlcore.inference.decoding.planners import FullSequence
from rlcore.inference.decoding.schedules import ascending_counts
from rlcore.inference.decoding.state import FILLED
from tests.inference.decoding.denoisers import EOS, MASK, Mixing
from tests.inference.decoding.test_pipeline import (
    ASCENDING,
    EOSER,
    ONE,
    PROMPTS,
    UNIFORM,
    L,
    scripted,
)

COMPOSITIONS = {
    "ascending": {"acceptance": ASCENDING},
    "uniform": {"acceptance": UNIFORM, "planner": {"name": "semi_ar", "block_length": 8}},
    "threshold": {"acceptance": {"name": "threshold", "tau": 0.6}},
    "eoser": {"acceptance": ASCENDING, "confidence_transforms": [EOSER]},
    "eos_stop": {"acceptance": {"name": "threshold", "tau": 0.3}, "stop": {"eos": True}},
    "greedy": {"acceptance": UNIFORM, "temperature": 0.0},
    "guided": {"acceptance": UNIFORM, "cfg_scale": 0.5},
}


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_states_and_log_probs_are_those_of_the_rollout(name):
    decoder = build_decoder(
        {"temperature": 0.7, "stop": {"eos": False}, **COMPOSITIONS[name]}, Mixing(seed=2)
    )
    decoder.recorder = Recorder(states=True)
    clues = torch.full((4, L), -1)
    clues[1, 5] = 6
    given = None if "ascending" in str(COMPOSITIONS[name]) else clues
    prompts = PromptBatch.from_lists(PROMPTS, given=given)
    result = decoder.generate(prompts, L, seed=5)
    record = decoder.trajectory(result, policy_version=7)
    for row in range(4):
        seen = decoder.recorder.seen(row)
        assert len(seen) == int(record.n_steps[row]) == int(result.nfe[row])
        for step in range(len(seen)):
            assert torch.equal(record.state(step)[row], seen[step])
            assert record.committed(step)[row].any()
    for chunk in (1, 3):
        again = replay_log_probs(decoder.parts.denoiser, record, chunk=chunk)
        assert torch.allclose(again.float(), record.old_logp, atol=1e-5, rtol=0)
    assert record.policy_version.tolist() == [7] * 4
    assert (record.old_logp[record.commit_step < 0] == 0).all()
    assert (record.old_logp[record.commit_step >= 0] < 0).all()


def test_a_tail_that_the_stop_rule_filled_is_masked_in_every_state():
    # Position 3 (EOS) is committed first, 5 second, then 0, 1, 2: 4 and 6 are filled at the end.
    model = scripted([2, 3, 4, EOS, 2, 3, 4], [3, 5, 0, 1, 2, 4, 6])
    decoder = build_decoder({"acceptance": ONE}, model)
    decoder.recorder = Recorder(states=True)
    result = decoder.generate(PromptBatch.from_lists([[2]]), 7)
    record = decoder.trajectory(result)
    assert record.commit_step.tolist() == [[2, 3, 4, 0, FILLED, 1, FILLED]]
    seen = decoder.recorder.seen(0)
    assert len(seen) == int(record.n_steps[0]) == 5
    for step, before in enumerate(seen):
        assert torch.equal(record.state(step)[0], before)
        assert before[[4, 6]].tolist() == [MASK, MASK]
    scored = replay_log_probs(model, record)
    assert (scored != 0).tolist() == [[True, True, True, True, False, True, False]]
    assert torch.allclose(scored.float(), record.old_logp, atol=1e-6, rtol=0)


def test_record_is_small():
    decoder = build_decoder({"acceptance": ASCENDING, "temperature": 1.0}, Mixing())
    record = decoder.rollout(PromptBatch.from_lists(PROMPTS), 3, gen_length=L, seed=1)
    assert len(record) == 12
    kinds = {name: getattr(record, name).dtype for name in ("prompt", "tokens", "commit_step",
             "n_steps", "old_logp", "policy_version")}  # fmt: skip
    assert kinds == {"prompt": torch.int32, "tokens": torch.int32, "commit_step": torch.int16,
                     "n_steps": torch.int16, "old_logp": torch.float32,
                     "policy_version": torch.int64}  # fmt: skip
    # Copies of a prompt are adjacent and drawn apart.
    assert torch.equal(record.prompt[0], record.prompt[2])
    assert not torch.equal(record.tokens[0], record.tokens[1])


def test_each_copy_of_a_prompt_has_a_number_of_its_own():
    assert PromptBatch.from_lists(PROMPTS).repeat(3).row_ids.tolist() == list(range(12))
    numbered = PromptBatch.from_lists(PROMPTS[:2], row_ids=[2, 5]).repeat(3)
    assert numbered.row_ids.tolist() == [6, 7, 8, 15, 16, 17]
    assert torch.equal(numbered.ids[2], numbered.ids[0])


def test_rollouts_of_a_prompt_do_not_depend_on_the_others():
    decoder = build_decoder({"acceptance": ASCENDING, "temperature": 1.0}, Mixing())
    whole = decoder.rollout(PromptBatch.from_lists(PROMPTS), 2, gen_length=L)
    part = decoder.rollout(PromptBatch.from_lists(PROMPTS[2:3], row_ids=[2]), 2, gen_length=L)
    assert torch.equal(whole.tokens[4:6], part.tokens)


def test_replay_scores_the_steps_asked_for():
    decoder = build_decoder({"acceptance": ASCENDING, "temperature": 1.0}, Mixing())
    record = decoder.rollout(PromptBatch.from_lists(PROMPTS), gen_length=L)
    parts = list(replay(decoder.parts.denoiser, record, [3, 0], chunk=2))
    assert [steps for steps, _, _ in parts] == [[3, 0]]
    _, log_probs, chosen = parts[0]
    counts = ascending_counts(L)
    assert chosen.sum(-1).tolist() == [[counts[3]] * 4, [counts[0]] * 4]
    assert torch.allclose(log_probs[0][chosen[0]].float(), record.old_logp[record.committed(3)])
    assert (log_probs[~chosen] == 0).all()


def test_replay_carries_gradients_and_one_step_is_the_whole_jump():
    model = Mixing()
    model.head.requires_grad_(True)
    decoder = build_decoder(
        {"acceptance": {"name": "fixed_count", "schedule": {"name": "uniform", "steps": 1}},
         "temperature": 1.0, "stop": {"eos": False}}, model,
    )  # fmt: skip
    record = decoder.rollout(PromptBatch.from_lists(PROMPTS), gen_length=L)
    total = replay_log_probs(model, record).sum()
    (gradient,) = torch.autograd.grad(total, model.head)
    ids = torch.cat([record.prompt.long(), torch.full((4, L), MASK)], 1)
    real = torch.cat([record.prompt_mask, torch.ones(4, L, dtype=torch.bool)], 1)
    logits = model(ids, padding=real)[:, -L:].index_fill(-1, torch.tensor(MASK), -torch.inf)
    one = torch.log_softmax(logits, -1).gather(-1, record.tokens.long()[..., None]).sum()
    (wanted,) = torch.autograd.grad(one, model.head)
    assert torch.allclose(gradient, wanted, atol=1e-10)


def test_rollouts_refuse_what_a_replay_cannot_score():
    law = {
        "acceptance": UNIFORM,
        "temperature": 1.0,
        "logit_transforms": [{"name": "top_k", "k": 2}],
    }
    decoder = build_decoder(law, Mixing())
    prompts = PromptBatch.from_lists(PROMPTS)
    with pytest.raises(InexactRollout, match=r"logit transform TopK \(law\).*allow_inexact"):
        decoder.rollout(prompts, gen_length=L)
    assert len(decoder.rollout(prompts, gen_length=L, allow_inexact=True)) == 4
    law["logit_transforms"] = [{"name": "top_k", "k": 2, "affects": "both"}]
    with pytest.raises(InexactRollout, match=r"logit transform TopK \(both\)"):
        build_decoder(law, Mixing()).rollout(prompts, gen_length=L)
    law["logit_transforms"] = [{"name": "top_k", "k": 2, "affects": "confidence"}]
    assert len(build_decoder(law, Mixing()).rollout(prompts, gen_length=L)) == 4


def test_a_compact_record_of_a_sampler_that_edits_tokens_is_refused():
    class Remasking(FullSequence):
        monotone = False

    with pytest.raises(TrajectoryNotMonotone, match="Remasking edits committed tokens"):
        DecodingPipeline(Mixing(), Remasking())
    loose = DecodingPipeline(Mixing(), Remasking(), recorder=Recorder(compact=False))
    result = loose.generate(PromptBatch.from_lists(PROMPTS), L)
    with pytest.raises(TrajectoryNotMonotone):
        loose.trajectory(result)


def test_the_fingerprint_names_every_setting():
    base = {"acceptance": UNIFORM, "temperature": 1.0}
    changes = [
        {}, {"temperature": 0.5}, {"acceptance": ASCENDING}, {"cfg_scale": 1.0},
        {"planner": {"name": "semi_ar", "block_length": 8}}, {"confidence": "margin"},
        {"confidence_transforms": [EOSER]}, {"stop": {"eos": False}},
        {"logit_transforms": [{"name": "top_k", "k": 2}]},
    ]  # fmt: skip
    prints = [build_decoder({**base, **change}, Mixing()).fingerprint for change in changes]
    assert len(set(prints)) == len(prints)
    assert prints[0] == build_decoder(base, Mixing(seed=8)).fingerprint


@pytest.mark.parametrize("affects", ["law", "confidence", "both"])
def test_log_probs_are_the_models_own_whatever_transforms_the_logits(affects):
    """A replay knows the model alone: a truncated law must not raise what is recorded."""
    denoiser = Mixing(seed=2)
    settings = {
        "acceptance": UNIFORM,
        "stop": {"eos": False},
        "temperature": 0.7,
        "logit_transforms": [{"name": "top_k", "k": 2, "affects": affects}],
    }
    prompts = PromptBatch.from_lists(PROMPTS)
    record = build_decoder(settings, denoiser).rollout(prompts, gen_length=L, allow_inexact=True)
    again = replay_log_probs(denoiser, record)
    assert torch.allclose(again.float(), record.old_logp, atol=1e-5, rtol=0)
