"""The transformer as a denoiser, and caches against whole passes."""

import itertools

import pytest
import torch

from rlcore.errors import ConfigError
from rlcore.inference.decoding import (
    InexactRollout,
    PromptBatch,
    PromptError,
    TransformerDenoiser,
    build_decoder,
    replay_log_probs,
)
from rlcore.inference.decoding.caches import BlockCausalCache, DualCache, NoCache, PrefixCache
from rlcore.inference.decoding.denoiser import block_of, masked_logits
from rlcore.nn.transformer import Transformer, TransformerConfig
from tests.inference.decoding.denoisers import EOS, MASK

PROMPTS = [[2, 3, 4], [5], [6, 6, 2, 3], [3, 2]]
L = 16


def transformer(dtype=torch.float64, **more):
    torch.manual_seed(0)
    config = TransformerConfig(
        **{"vocab_size": 9, "dim": 32, "layers": 2, "heads": 4, "kv_heads": 2, "causal": False,
           "mask_id": MASK, "eos_id": EOS, "init_std": 0.3, **more}
    )  # fmt: skip
    return Transformer(config).to(dtype).eval().requires_grad_(False)


def decode(cfg, denoiser, prompts=PROMPTS, **more):
    decoder = build_decoder({"stop": {"eos": False}, **cfg}, denoiser)
    return decoder.generate(PromptBatch.from_lists(prompts, **more), L, seed=1)


UNIFORM = {"name": "fixed_count", "schedule": {"name": "uniform", "steps": 8}}
THRESHOLD = {"name": "threshold", "tau": 0.5}


def test_the_head_runs_on_the_wanted_positions_alone():
    model = transformer()
    denoiser = TransformerDenoiser(model)
    assert (denoiser.mask_id, denoiser.eos_id, denoiser.vocab_size) == (MASK, EOS, 9)
    ids = torch.randint(2, 9, (3, 12))
    whole = model(ids)
    assert torch.equal(denoiser(ids), whole)
    positions = torch.tensor([[3, 4], [0, 11], [7, 9]])
    seen = []
    head = model.head
    model.head = lambda hidden: seen.append(hidden.shape) or head(hidden)
    part = denoiser(ids, positions=positions)
    assert torch.allclose(part, whole.gather(1, positions[..., None].expand(-1, -1, 9)), atol=1e-12)
    assert seen == [(3, 2, 32)]


def test_shifted_logits_come_from_the_position_before():
    model = transformer()
    ids = torch.randint(2, 9, (2, 12))
    positions = torch.tensor([[5, 6], [1, 11]])
    shifted = TransformerDenoiser(model, shift=True)(ids, positions=positions)
    before = model(ids).gather(1, (positions - 1)[..., None].expand(-1, -1, 9))
    assert torch.allclose(shifted, before, atol=1e-12)
    with pytest.raises(PromptError, match="at least one token"):
        decode({"acceptance": UNIFORM}, TransformerDenoiser(model, shift=True), [[], [2]])
    with pytest.raises(PromptError, match="at least one token"):
        decode({"acceptance": UNIFORM}, TransformerDenoiser(model, shift=True), [[]])


def test_mask_logit_and_width():
    denoiser = TransformerDenoiser(transformer(torch.bfloat16))
    ids, positions = torch.randint(2, 9, (2, 6)), torch.arange(6).expand(2, -1)
    logits = masked_logits(denoiser, ids, positions, padding=None, prompt_length=2)
    assert logits.dtype == torch.float32
    assert (logits[..., MASK] == -torch.inf).all()
    assert torch.isfinite(logits[..., 1:]).all()
    with pytest.raises(PromptError, match="which tokens belong to the prompt"):
        masked_logits(denoiser, ids, positions, padding=None, prompt_length=2, guidance=1.0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_rows_do_not_see_each_other(dtype):
    denoiser = TransformerDenoiser(transformer(dtype))
    cfg = {"acceptance": THRESHOLD, "temperature": 0.7}
    together = decode(cfg, denoiser)
    for row, prompt in enumerate(PROMPTS):
        alone = decode(cfg, denoiser, [prompt, [2] * 9], row_ids=[row, 50])
        assert torch.equal(together.tokens[row], alone.tokens[0])
        assert torch.equal(together.commit_step[row], alone.commit_step[0])
        tolerance = 1e-6 if dtype == torch.float64 else 1e-5
        assert torch.allclose(together.log_probs[row], alone.log_probs[0], atol=tolerance, rtol=0)


def test_blocks_are_numbered_from_the_prompt():
    wanted = [0, 0, 0, 1, 1, 2, 2, 3]
    assert block_of(8, 3, 2, torch.device("cpu")).tolist() == wanted


def test_a_block_sees_earlier_blocks_and_itself():
    denoiser = TransformerDenoiser(transformer(), block_length=4)
    ids = torch.randint(2, 9, (1, 14))
    base = denoiser(ids, prompt_length=2)
    changed = ids.clone()
    changed[0, 6:10] = (ids[0, 6:10] - 1) % 7 + 2
    moved = (denoiser(changed, prompt_length=2) - base).abs().amax(-1)[0] > 1e-9
    assert moved.tolist() == [False] * 6 + [True] * 8


@pytest.mark.parametrize(
    ("acceptance", "shift", "temperature", "eos"),
    list(itertools.product([UNIFORM, THRESHOLD], [False, True], [0.0, 0.7], [False, True])),
)
def test_the_block_causal_cache_is_exact(acceptance, shift, temperature, eos):
    denoiser = TransformerDenoiser(transformer(), shift=shift, block_length=4)
    cfg = {"planner": {"name": "block_causal", "block_length": 4}, "acceptance": acceptance,
           "temperature": temperature, "stop": {"eos": eos}}  # fmt: skip
    whole = decode(cfg, denoiser)
    cached = decode({**cfg, "cache": "block_causal"}, denoiser)
    for name in ("tokens", "commit_step", "nfe"):
        assert torch.equal(getattr(whole, name), getattr(cached, name))
    assert torch.allclose(whole.log_probs, cached.log_probs, atol=1e-6, rtol=0)


def test_the_block_causal_cache_gives_the_logits_of_a_whole_pass():
    """In float64 to 1e-10, for rows in different blocks at once."""
    denoiser = TransformerDenoiser(transformer(), block_length=4)
    cfg = {"planner": {"name": "block_causal", "block_length": 4}, "acceptance": THRESHOLD}
    decoder = build_decoder({**cfg, "cache": "block_causal"}, denoiser)
    inner, largest, spread = decoder.parts.cache.logits, [], []

    class Watched(BlockCausalCache):
        def logits(self, model, state, plan, guidance):
            found = inner(model, state, plan, guidance)
            wanted = NoCache().logits(model, state, plan, guidance)
            active = state.active
            difference = (found - wanted)[active][..., 1:]
            largest.append(float(difference.abs().max()))
            spread.append(plan.positions[active, 0].unique().numel())
            return found

    object.__setattr__(decoder.parts, "cache", Watched())
    decoder.generate(PromptBatch.from_lists(PROMPTS), L)
    assert max(largest) < 1e-10
    assert max(spread) > 1


def test_the_block_causal_cache_without_a_prompt_and_with_given_tokens():
    denoiser = TransformerDenoiser(transformer(), block_length=4)
    cfg = {"planner": {"name": "block_causal", "block_length": 4}, "acceptance": THRESHOLD}
    clues = torch.full((3, L), -1)
    clues[0, 5:7], clues[1, :9], clues[2] = 6, 5, 3
    for prompts in ([[], [], []], [[], [2, 3], [4]]):
        whole = decode(cfg, denoiser, prompts, given=clues)
        cached = decode({**cfg, "cache": "block_causal"}, denoiser, prompts, given=clues)
        assert torch.equal(whole.tokens, cached.tokens)
        assert torch.equal(whole.commit_step, cached.commit_step)
    clues[1, :4] = -1
    with pytest.raises(PromptError, match="gives a whole block of 4 tokens between"):
        decode({**cfg, "cache": "block_causal"}, denoiser, prompts, given=clues)


def test_a_cached_rollout_replays_without_the_cache():
    denoiser = TransformerDenoiser(transformer(torch.float32), block_length=4)
    cfg = {"planner": {"name": "block_causal", "block_length": 4}, "acceptance": THRESHOLD,
           "temperature": 1.0, "cache": "block_causal"}  # fmt: skip
    record = build_decoder(cfg, denoiser).rollout(PromptBatch.from_lists(PROMPTS), 2, gen_length=L)
    again = replay_log_probs(denoiser, record, chunk=2)
    assert torch.allclose(again, record.old_logp, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_approximate_caches_are_exact_at_block_entry_and_near_after(cache, shift):
    denoiser = TransformerDenoiser(transformer(), shift=shift)
    whole_block = {"name": "fixed_count", "schedule": {"name": "uniform", "steps": 4}}
    planner = {"name": "semi_ar", "block_length": 4}
    cfg = {"planner": planner, "acceptance": whole_block}
    # One pass a block: every pass enters a block, and so reads the whole sequence.
    exact, found = decode(cfg, denoiser), decode({**cfg, "cache": cache}, denoiser)
    assert torch.equal(exact.tokens, found.tokens)
    assert torch.allclose(exact.log_probs, found.log_probs, atol=1e-6)
    cfg["acceptance"] = THRESHOLD
    exact, found = decode(cfg, denoiser), decode({**cfg, "cache": cache}, denoiser)
    assert (found.tokens != MASK).all()
    assert not torch.equal(exact.log_probs, found.log_probs)
    assert float((exact.tokens == found.tokens).float().mean()) > 0.5


def test_the_prefix_cache_reads_what_it_says():
    """Later passes of a block equal a pass whose prefix has the keys of the block's entry.

    With one layer, keys and values are functions of the tokens alone, so that the prefix, whose
    tokens do not change within a block, is not stale: the prefix cache is then exact.
    """
    denoiser = TransformerDenoiser(transformer(layers=1))
    cfg = {"planner": {"name": "semi_ar", "block_length": 4}, "acceptance": THRESHOLD}
    exact, found = decode(cfg, denoiser), decode({**cfg, "cache": "prefix"}, denoiser)
    assert torch.equal(exact.tokens, found.tokens)
    assert torch.allclose(exact.log_probs, found.log_probs, atol=1e-6, rtol=0)
    # Masks behind the block do not change either while the block is decoded.
    dual = decode({**cfg, "cache": "dual"}, denoiser)
    assert torch.equal(exact.tokens, dual.tokens)
    assert torch.allclose(exact.log_probs, dual.log_probs, atol=1e-6, rtol=0)


def test_rollouts_refuse_approximate_caches():
    assert (NoCache.exact, BlockCausalCache.exact) == (True, True)
    assert (PrefixCache.exact, DualCache.exact) == (False, False)
    cfg = {"planner": {"name": "semi_ar", "block_length": 4}, "cache": "dual", "temperature": 1.0}
    decoder = build_decoder(cfg, TransformerDenoiser(transformer()))
    prompts = PromptBatch.from_lists(PROMPTS)
    with pytest.raises(InexactRollout, match="cache DualCache"):
        decoder.rollout(prompts, gen_length=L)
    assert len(decoder.rollout(prompts, gen_length=L, allow_inexact=True)) == 4


def test_parts_that_do_not_fit():
    model = transformer()
    plain, blocked = TransformerDenoiser(model), TransformerDenoiser(model, block_length=4)
    semi = {"name": "semi_ar", "block_length": 8}
    with pytest.raises(ConfigError, match="blocks 4 and planner SemiAR"):
        build_decoder({"cache": "block_causal", "planner": semi}, blocked)
    with pytest.raises(ConfigError, match="blocks None"):
        build_decoder({"cache": "block_causal", "planner": semi}, plain)
    with pytest.raises(ConfigError, match="wants planner semi_ar or block_causal"):
        build_decoder({"cache": "prefix"}, plain)
    with pytest.raises(ConfigError, match="has the exact cache block_causal"):
        build_decoder({"cache": "dual", "planner": semi}, blocked)
    with pytest.raises(ConfigError, match="cfg_scale must be 0"):
        build_decoder({"cache": "dual", "planner": semi, "cfg_scale": 1}, plain)
    with pytest.raises(ConfigError, match="causal must be False"):
        TransformerDenoiser(transformer(causal=True))
    with pytest.raises(ConfigError, match=r"mask_id in 0 .. 8, got None"):
        TransformerDenoiser(transformer(mask_id=None))
    with pytest.raises(ConfigError, match="block_length must be >= 1, got 0"):
        TransformerDenoiser(model, block_length=0)
    with pytest.raises(ConfigError, match="execution graph wants a CUDA device, got cpu"):
        decode({"execution": "graph"}, plain)


def test_position_tables_and_no_prompt():
    tables = (tuple(i // 4 for i in range(16)), tuple(i % 4 for i in range(16)))
    denoiser = TransformerDenoiser(transformer(rope=False, position_tables=tables, eos_id=None))
    clues = torch.full((2, 16), -1)
    clues[:, ::3] = 4
    result = decode({"acceptance": THRESHOLD}, denoiser, [[], []], given=clues)
    assert (result.tokens[:, ::3] == 4).all()
    assert (result.tokens != MASK).all()


@pytest.mark.gpu
@pytest.mark.parametrize("cache", ["none", "block_causal"])
@pytest.mark.parametrize("rows", [3, 8, 21])
def test_graphs_equal_eager_passes(cache, rows):
    denoiser = TransformerDenoiser(
        transformer(torch.float32).cuda(), block_length=4 if cache == "block_causal" else None
    )
    cfg = {"planner": {"name": "semi_ar", "block_length": 4}, "acceptance": THRESHOLD,
           "temperature": 1.0, "cache": cache, "compact_every": 2}  # fmt: skip
    prompts = PromptBatch.from_lists([PROMPTS[k % 4] for k in range(rows)], device="cuda")
    results = []
    for execution in ("eager", "graph", "graph"):
        decoder = build_decoder({**cfg, "execution": execution}, denoiser)
        results.append(decoder.generate(prompts, L, seed=1))
        results.append(decoder.generate(prompts, L, seed=1))
    for other in results[1:]:
        assert torch.equal(results[0].tokens, other.tokens)
        assert torch.equal(results[0].commit_step, other.commit_step)
        assert torch.equal(results[0].nfe, other.nfe)
        assert torch.allclose(results[0].log_probs, other.log_probs, atol=1e-4)
