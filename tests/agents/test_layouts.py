"""Rows that are no transitions count for nothing, and both autoreset layouts train alike."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

F64 = torch.float64


def episodes(generator: torch.Generator, lengths: list[int], ends: list[str]):
    """Return one stream's episodes: lists of transitions that end as told (or go on)."""
    stream = []
    for length, end in zip(lengths, ends, strict=True):
        obs = torch.randn(length + 1, 4, generator=generator, dtype=F64)
        steps = [
            {
                "obs": obs[t], "next": obs[t + 1],
                "action": torch.randint(3, (), generator=generator),
                "reward": torch.randn((), generator=generator, dtype=F64),
                "log_mu": -1.1 + 0.3 * torch.randn((), generator=generator, dtype=F64),
                "terminated": end == "terminated" and t == length - 1,
                "truncated": end == "truncated" and t == length - 1,
            }
            for t in range(length)
        ]  # fmt: skip
        stream.append(steps)
    return stream


def lay_out(streams, layout: str):
    """Lay streams of equal transitions and ends out as one batch."""
    columns, finals = [], []
    for stream in streams:
        rows, flags = [], []
        for k, steps in enumerate(stream):
            for t, step in enumerate(steps):
                rows.append({**step, "valid": True})
                flags.append(t == 0)
            last = steps[-1]
            more = k + 1 < len(stream)
            if (last["terminated"] or last["truncated"]) and more:
                if layout == "next_step":  # the ignored action of the autoreset row
                    rows.append({**last, "obs": last["next"], "reward": last["reward"] * 0,
                                 "action": torch.tensor(0), "terminated": False,
                                 "truncated": False, "valid": False})  # fmt: skip
                    flags.append(False)
                elif last["truncated"]:
                    finals.append((len(rows) - 1, len(columns), last["next"]))
        columns.append((rows, [*flags, False], stream[-1][-1]["next"]))
    width = len(columns)

    def stack(name, dtype=None):
        return torch.stack(
            [torch.stack([torch.as_tensor(r[name], dtype=dtype) for r in rows])
             for rows, _, _ in columns], 1
        )  # fmt: skip

    batch = {name: stack(name) for name in ("action", "reward", "log_mu")}
    batch |= {name: stack(name, torch.bool) for name in ("terminated", "truncated", "valid")}
    batch["obs"] = torch.cat([stack("obs"), torch.stack([end for _, _, end in columns])[None]])
    batch["first"] = torch.stack([torch.tensor(flags) for _, flags, _ in columns], 1)
    batch["final_row"] = torch.tensor([t * width + b for t, b, _ in finals], dtype=torch.int64)
    batch["final_obs"] = torch.stack([o for *_, o in finals]) if finals else torch.zeros(0, 4)
    return batch


@pytest.mark.parametrize("lstm", [None, 6])
@pytest.mark.parametrize("shared", [True, False])
def test_both_autoreset_layouts_give_the_same_loss_and_gradient(
    lstm, shared, config, env_spec, perturbed, loss_and_gradients
) -> None:
    network_config = replace(config.network, lstm=lstm, shared_trunk=shared)
    agent = replace(config, network=network_config).build(env_spec)
    network = perturbed(agent)
    g = torch.Generator().manual_seed(3)
    streams = [
        episodes(g, [2, 3, 4], ["truncated", "terminated", "open"]),
        episodes(g, [4, 1, 4], ["terminated", "truncated", "open"]),
    ]
    results = []
    for layout in ("same_step", "next_step"):
        batch = lay_out(streams, layout)
        batch |= {f"core_{i}": s for i, s in enumerate(network.initial_state(2))}
        assert batch["valid"].sum() == 18
        results.append(loss_and_gradients(agent, network, batch))
    assert lay_out(streams, "same_step")["reward"].shape == (9, 2)
    assert lay_out(streams, "next_step")["reward"].shape == (11, 2)
    (loss, grads), (twin_loss, twin_grads) = results
    torch.testing.assert_close(loss, twin_loss, rtol=0, atol=1e-12)
    for ours, twin in zip(grads, twin_grads, strict=True):
        torch.testing.assert_close(ours, twin, rtol=0, atol=1e-12)


def test_invalid_rows_contribute_exactly_nothing(
    config, env_spec, perturbed, random_batch, loss_and_gradients
) -> None:
    agent = config.build(env_spec)
    network, batch = perturbed(agent), random_batch(agent)
    for name in ("terminated", "truncated"):
        batch[name][2] = False
    batch["truncated"][1] = True  # row 2 follows an end, as autoreset rows do
    batch["final_row"], batch["final_obs"] = batch["final_row"][:0], batch["final_obs"][:0]
    batch["valid"][2] = False
    other = {k: v.clone() if torch.is_tensor(v) else v for k, v in batch.items()}
    other["reward"][2] += 1e3
    other["log_mu"][2] -= 3.0
    other["action"][2] = (other["action"][2] + 1) % 3
    loss, grads = loss_and_gradients(agent, network, batch)
    twin_loss, twin_grads = loss_and_gradients(agent, network, other)
    assert loss == twin_loss
    assert all(torch.equal(a, b) for a, b in zip(grads, twin_grads, strict=True))
    ours, twin = agent.loss(network, batch).metrics, agent.loss(network, other).metrics
    assert all(torch.equal(ours[k], twin[k]) for k in ours)
    assert agent.loss(network, batch).weight == batch["valid"].sum()


def test_a_padded_fragment_equals_the_shorter_one(
    config, env_spec, perturbed, random_batch, loss_and_gradients
) -> None:
    """Rows after an early close are padding; the row before it bootstraps."""
    agent = config.build(env_spec)
    network, batch = perturbed(agent), random_batch(agent)
    steps, envs = 4, 5
    used = batch["final_row"] < steps * envs
    short = {
        k: v[: steps + 1] if k in ("obs", "first") else v[:steps]
        for k, v in batch.items()
        if torch.is_tensor(v) and not k.startswith("final")
    } | {"final_row": batch["final_row"][used], "final_obs": batch["final_obs"][used]}
    padded = {k: v.clone() if torch.is_tensor(v) else v for k, v in batch.items()}
    for name in ("valid", "terminated", "truncated", "reward", "action"):
        padded[name][steps:] = 0
    padded["obs"][steps + 1 :] = padded["obs"][steps]
    padded["first"][steps + 1 :] = False
    padded |= {"final_row": short["final_row"], "final_obs": short["final_obs"]}
    loss, grads = loss_and_gradients(agent, network, short)
    padded_loss, padded_grads = loss_and_gradients(agent, network, padded)
    torch.testing.assert_close(padded_loss, loss, rtol=0, atol=1e-13)
    for ours, twin in zip(padded_grads, grads, strict=True):
        torch.testing.assert_close(ours, twin, rtol=0, atol=1e-13)


def test_nothing_after_a_cut_changes_the_gradient_before_it(
    config, env_spec, perturbed, random_batch, loss_and_gradients
) -> None:
    """With the rows after the cut masked, whatever they hold, loss and gradient stay."""
    agent = config.build(env_spec)
    network, batch = perturbed(agent), random_batch(agent)
    cut = 3
    batch["terminated"][cut] = False
    batch["truncated"][cut] = True
    rows = torch.arange(cut * 5, cut * 5 + 5)
    batch["final_row"], batch["final_obs"] = rows, torch.randn(5, 4, dtype=F64)
    batch["valid"][cut + 1 :] = False
    other = {k: v.clone() if torch.is_tensor(v) else v for k, v in batch.items()}
    other["obs"][cut + 1 :] += 2.0
    other["reward"][cut + 1 :] -= 4.0
    loss, grads = loss_and_gradients(agent, network, batch)
    twin_loss, twin_grads = loss_and_gradients(agent, network, other)
    assert loss == twin_loss
    assert all(torch.equal(a, b) for a, b in zip(grads, twin_grads, strict=True))
