"""Small models whose logits can be written down, and a decoder written as plain loops."""

from __future__ import annotations

import math

import torch

from rlcore.ops.sampling.counter_rng import branch_key, gumbel, token_bits

MASK, EOS = 0, 1


class Mixing:
    """Logits that depend on every real token and its distance, float64; no padding is seen."""

    def __init__(self, vocab_size=7, eos_id=EOS, seed=0, scale=3.0, reach=96):
        g = torch.Generator().manual_seed(seed)
        self.vocab_size, self.mask_id, self.eos_id = vocab_size, MASK, eos_id
        self.embed = torch.randn(vocab_size, 6, generator=g, dtype=torch.float64)
        self.kernel = torch.randn(2 * reach + 1, 6, generator=g, dtype=torch.float64) / 3
        self.head = scale * torch.randn(6, vocab_size, generator=g, dtype=torch.float64)
        self.reach = reach
        self.calls = 0

    def __call__(self, ids, *, positions=None, padding=None):
        self.calls += 1
        place = torch.arange(ids.shape[1])
        kernel = self.kernel[(place[:, None] - place).clamp(-self.reach, self.reach) + self.reach]
        tokens = self.embed[ids]
        if padding is not None:
            tokens = tokens * padding[..., None]
        logits = torch.tanh(torch.einsum("ijd,bjd->bid", kernel, tokens)) @ self.head
        if positions is None:
            return logits
        return logits.gather(1, positions[..., None].expand(-1, -1, self.vocab_size))


class Table:
    """Fixed logits ``[L, V]`` of the response, whatever stands there."""

    def __init__(self, logits, prompt_length, eos_id=None):
        self.logits, self.prompt_length = logits, prompt_length
        self.vocab_size, self.mask_id, self.eos_id = logits.shape[-1], MASK, eos_id

    def __call__(self, ids, *, positions=None, padding=None):
        if positions is None:
            positions = torch.arange(ids.shape[1]).expand(len(ids), -1)
        return self.logits[(positions - self.prompt_length).clamp(min=0)]


def plain_decode(denoiser, prompt, length, *, blocks, confidence, accept, temperature=0.0,
                 eoser=None, seed=0, row_id=0, given=None):  # fmt: skip
    """Decode one row with loops over blocks, passes and positions; return tokens and steps.

    ``confidence(probs, token)`` is a number; ``accept(items, step, block_step)`` takes
    ``(confidence, position, entropy)`` of the masked positions of a block and returns the positions
    to commit; ``eoser(step)`` is the factor of end tokens.
    """
    given = [-1] * length if given is None else given
    row = list(prompt) + [denoiser.mask_id if token < 0 else token for token in given]
    steps = [-1 if token < 0 else -3 for token in given]
    key = torch.tensor([branch_key(seed, row_id)])
    step, start = 0, 0
    for size in blocks:
        block_step = 0
        while any(steps[i] == -1 for i in range(start, start + size)):
            logits = denoiser(torch.tensor([row]))[0, len(prompt) :].clone()
            logits[:, denoiser.mask_id] = -math.inf
            items, tokens = [], {}
            for i in range(start, start + size):
                if steps[i] != -1:
                    continue
                scores = logits[i]
                if temperature > 0:
                    place = torch.tensor([(step << 32) + i])
                    noise = gumbel(token_bits(key, place, len(scores)))[0]
                    scores = scores / temperature + noise
                tokens[i] = int(scores.argmax())
                probs = torch.softmax(logits[i], 0)
                sure = confidence(probs, tokens[i])
                if eoser is not None and tokens[i] == denoiser.eos_id:
                    sure = sure * eoser(step) if sure >= 0 else sure / eoser(step)
                entropy = -sum(float(p) * math.log(p) for p in probs if p > 0)
                items.append((float(sure), i, entropy))
            for i in accept(items, step, block_step):
                row[len(prompt) + i] = tokens[i]
                steps[i] = step
            step, block_step = step + 1, block_step + 1
        start += size
    return row[len(prompt) :], steps


def ranked(items):
    """Return items by falling confidence, equals from left to right."""
    return sorted(items, key=lambda item: (-item[0], item[1]))
