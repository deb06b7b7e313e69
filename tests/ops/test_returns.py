"""V-trace, GAE and n-step returns: definitions, identities, backends, truncation, bad input."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rlcore.errors import ConfigError, LearnerError, MissingDependencyError, NonFiniteError
from rlcore.ops.returns import gae, n_step, vtrace
from rlcore.ops.returns.reference import vtrace_double_sum

CPU_BACKENDS = ("reference", "torch", "numba")
GAMMA = 0.9


def random_batch(steps: int, width: int, seed: int, dtype: torch.dtype = torch.float64, **kw):
    """Random arrays that obey the convention of next values (0.15 ends of each kind)."""
    g = torch.Generator().manual_seed(seed)
    values = torch.randn(steps + 1, width, generator=g, dtype=dtype)
    terminated = torch.rand(steps, width, generator=g) < kw.get("p_terminated", 0.15)
    truncated = torch.rand(steps, width, generator=g) < kw.get("p_truncated", 0.15)
    final = torch.randn(steps, width, generator=g, dtype=dtype)
    next_values = torch.where(truncated, final, values[1:])
    next_values = torch.where(terminated, torch.zeros_like(final), next_values)
    return {
        "log_rhos": 0.8 * torch.randn(steps, width, generator=g, dtype=dtype),
        "rewards": torch.randn(steps, width, generator=g, dtype=dtype),
        "values": values[:-1].contiguous(),
        "next_values": next_values,
        "terminated": terminated,
        "truncated": truncated,
    }


def on_policy(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in batch.items() if k != "log_rhos"}


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("steps", [1, 2, 7, 64])
def test_vtrace_equals_the_double_sum(steps: int, backend: str) -> None:
    batch = random_batch(steps, 4, steps)
    vs, _ = vtrace(**batch, gamma=GAMMA, lam=0.8, rho_bar=1.7, c_bar=1.1, backend=backend)
    wanted = vtrace_double_sum(**batch, gamma=GAMMA, lam=0.8, rho_bar=1.7, c_bar=1.1)
    torch.testing.assert_close(vs, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("steps", [1, 2, 7, 64])
def test_advantages_follow_their_definition(steps: int, backend: str) -> None:
    batch = random_batch(steps, 3, 10 + steps)
    vs, advantages = vtrace(**batch, gamma=GAMMA, rho_pg_bar=1.3, backend=backend)
    for t, b in itertools.product(range(steps), range(3)):
        done = bool(batch["terminated"][t, b] or batch["truncated"][t, b])
        inside = not done and t + 1 < steps
        after = vs[t + 1, b] if inside else batch["next_values"][t, b]
        q = batch["rewards"][t, b] + GAMMA * after
        weight = batch["log_rhos"][t, b].exp().clamp(max=1.3)
        torch.testing.assert_close(
            advantages[t, b], weight * (q - batch["values"][t, b]), rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_backends_agree_in_float32(backend: str) -> None:
    batch = random_batch(32, 65, 3, torch.float32)
    levels = {"gamma": 0.99, "lam": 0.95, "rho_bar": 2.0, "c_bar": 1.0, "rho_pg_bar": 1.5}
    for ours, twin in zip(
        vtrace(**batch, **levels, backend=backend),
        vtrace(**batch, **levels, backend="reference"),
        strict=True,
    ):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, twin, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
def test_on_policy_vtrace_is_gae(lam: float, backend: str) -> None:
    batch = random_batch(13, 5, 4)
    batch["log_rhos"].zero_()
    vs, _ = vtrace(**batch, gamma=GAMMA, lam=lam, rho_bar=math.inf, c_bar=math.inf, backend=backend)
    advantages, targets = gae(**on_policy(batch), gamma=GAMMA, lam=lam, backend=backend)
    torch.testing.assert_close(vs - batch["values"], advantages, rtol=0, atol=1e-12)
    torch.testing.assert_close(targets, vs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("level", [1.0, 5.0, math.inf])
def test_on_policy_vtrace_is_the_n_step_return(level: float, backend: str) -> None:
    batch = random_batch(9, 5, 5)
    batch["log_rhos"].zero_()
    vs, advantages = vtrace(**batch, gamma=GAMMA, rho_bar=level, c_bar=level, backend=backend)
    ours, returns = n_step(**on_policy(batch), gamma=GAMMA, backend=backend)
    torch.testing.assert_close(vs, returns, rtol=0, atol=1e-12)
    torch.testing.assert_close(advantages, ours, rtol=0, atol=1e-12)


def test_n_step_by_hand() -> None:
    """Three steps, the middle one ends by time limit with V(final) = 7; discount 1/2."""
    column = {
        "rewards": [1.0, 2.0, 3.0],
        "values": [0.5, 0.25, 0.125],
        "next_values": [0.25, 7.0, 4.0],
    }
    arrays = {k: torch.tensor(v, dtype=torch.float64)[:, None] for k, v in column.items()}
    truncated = torch.tensor([[False], [True], [False]])
    advantages, returns = n_step(
        **arrays, terminated=torch.zeros_like(truncated), truncated=truncated, gamma=0.5
    )
    assert returns.flatten().tolist() == [1 + 0.5 * 2 + 0.25 * 7, 2 + 0.5 * 7, 3 + 0.5 * 4]
    assert advantages.flatten().tolist() == [3.75 - 0.5, 5.5 - 0.25, 5 - 0.125]
    _, ended = n_step(**arrays, terminated=truncated, truncated=truncated, gamma=0.5)
    assert ended.flatten().tolist() == [1 + 0.5 * 2, 2.0, 5.0]


@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 1000))
def test_n_step_fast_path_equals_the_direct_sum(steps: int, n: int, seed: int) -> None:
    batch = on_policy(random_batch(steps, 3, seed))
    for ours, twin in zip(
        n_step(**batch, gamma=GAMMA, n=n),
        n_step(**batch, gamma=GAMMA, n=n, backend="reference"),
        strict=True,
    ):
        torch.testing.assert_close(ours, twin, rtol=0, atol=1e-12)


@given(st.integers(1, 9), st.integers(0, 1000))
def test_full_returns_equal_the_longest_n(steps: int, seed: int) -> None:
    batch = on_policy(random_batch(steps, 3, seed))
    full = n_step(**batch, gamma=GAMMA)[1]
    torch.testing.assert_close(full, n_step(**batch, gamma=GAMMA, n=steps, backend="reference")[1])


@given(st.integers(2, 9), st.integers(0, 1000), st.sampled_from(CPU_BACKENDS))
def test_a_truncated_stream_equals_one_that_ends_there(steps: int, seed: int, backend: str) -> None:
    """Cutting at t by truncation equals the fragment that stops at t with bootstrap V(final)."""
    batch = random_batch(steps, 2, seed, p_terminated=0.0, p_truncated=0.0)
    cut = seed % steps
    batch["truncated"][cut] = True
    batch["next_values"][cut] = 3.25
    whole = vtrace(**batch, gamma=GAMMA, rho_bar=2.0, c_bar=1.5, backend=backend)
    shorter = {k: v[: cut + 1].clone() for k, v in batch.items()}
    shorter["truncated"][cut] = False
    alone = vtrace(**shorter, gamma=GAMMA, rho_bar=2.0, c_bar=1.5, backend=backend)
    for ours, wanted in zip(whole, alone, strict=True):
        torch.testing.assert_close(ours[: cut + 1], wanted, rtol=0, atol=1e-13)


@given(st.integers(2, 9), st.integers(0, 1000), st.booleans(), st.sampled_from(CPU_BACKENDS))
def test_nothing_after_a_cut_changes_anything_before_it(
    steps: int, seed: int, terminal: bool, backend: str
) -> None:
    batch = random_batch(steps, 2, seed)
    cut = seed % (steps - 1)
    batch["terminated"][cut] = terminal
    batch["truncated"][cut] = not terminal
    other = {k: v.clone() for k, v in batch.items()}
    for name in ("log_rhos", "rewards", "values", "next_values"):
        other[name][cut + 1 :] += 100.0
    functions = [
        lambda a: vtrace(**a, gamma=GAMMA, backend=backend),
        lambda a: gae(**on_policy(a), gamma=GAMMA, lam=0.9, backend=backend),
        lambda a: n_step(**on_policy(a), gamma=GAMMA, backend=backend),
    ]
    for function in functions:
        for before, after in zip(function(batch), function(other), strict=True):
            assert torch.equal(before[: cut + 1], after[: cut + 1])
            assert not torch.equal(before[cut + 1 :], after[cut + 1 :])


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_next_values_of_terminated_steps_do_not_count(backend: str) -> None:
    batch = random_batch(8, 3, 6)
    other = dict(batch, next_values=batch["next_values"].masked_fill(batch["terminated"], 1e6))
    for ours, wanted in (
        (vtrace(**other, gamma=GAMMA, backend=backend), vtrace(**batch, gamma=GAMMA)),
        (
            gae(**on_policy(other), gamma=GAMMA, lam=0.9, backend=backend),
            gae(**on_policy(batch), gamma=GAMMA, lam=0.9),
        ),
        (n_step(**on_policy(other), gamma=GAMMA, backend=backend),
         n_step(**on_policy(batch), gamma=GAMMA)),
    ):  # fmt: skip
        torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_masked_rows_have_their_value_as_target_and_no_advantage(backend: str) -> None:
    batch = random_batch(6, 3, 7)
    batch["log_rhos"][2] = -math.inf
    vs, advantages = vtrace(**batch, gamma=GAMMA, backend=backend)
    assert torch.equal(vs[2], batch["values"][2])
    assert (advantages[2] == 0).all()
    other = {k: v.clone() for k, v in batch.items()}
    other["rewards"][2] += 5.0
    assert torch.equal(vtrace(**other, gamma=GAMMA, backend=backend)[0], vs)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("level", [1.0, math.inf])
@pytest.mark.parametrize("field", ["rewards", "next_values"])
def test_what_a_masked_row_holds_does_not_matter(backend: str, level: float, field: str) -> None:
    batch = random_batch(12, 3, 8)
    batch["log_rhos"][4] = batch["log_rhos"][11] = -math.inf
    levels = {"gamma": GAMMA, "rho_bar": level, "c_bar": level, "rho_pg_bar": level}
    clean = vtrace(**batch, **levels, backend=backend)
    batch[field][4] = math.nan
    batch[field][11] = math.inf
    spoilt = vtrace(**batch, **levels, backend=backend)
    for ours, wanted in zip(spoilt, clean, strict=True):
        assert torch.equal(ours, wanted)
    assert torch.equal(spoilt[0][4], batch["values"][4])
    assert not spoilt[1][4].any()


@pytest.mark.parametrize("rho_bar", [0.5, 1.0, 4.0])
def test_fixed_point_is_the_value_of_the_truncated_policy(rho_bar: float) -> None:
    """Expected V-trace on a random 5-state, 3-action chain converges to V of pi_rho (theorem 1)."""
    g = torch.Generator().manual_seed(1)
    f64 = {"generator": g, "dtype": torch.float64}
    transition = torch.rand(5, 3, 5, **f64)
    transition /= transition.sum(-1, keepdim=True)
    reward = torch.randn(5, 3, **f64)
    pi, mu = (torch.softmax(torch.randn(5, 3, **f64), -1) for _ in range(2))
    pi_rho = torch.minimum(rho_bar * mu, pi)
    pi_rho /= pi_rho.sum(-1, keepdim=True)
    kernel = torch.einsum("sa,sax->sx", pi_rho, transition)
    wanted = torch.linalg.solve(
        torch.eye(5, dtype=torch.float64) - GAMMA * kernel, (pi_rho * reward).sum(-1)
    )

    # Expected target of a two-step fragment from s: all (a, s', a', s'') with their probability.
    paths = list(itertools.product(range(5), range(3), range(5), range(3), range(5)))
    s, a, x, u, y = torch.tensor(paths).T
    weight = mu[s, a] * transition[s, a, x] * mu[x, u] * transition[x, u, y]
    log_rhos = (pi / mu).log()
    no = torch.zeros(2, len(paths), dtype=torch.bool)
    value = torch.zeros(5, dtype=torch.float64)
    for _ in range(2000):
        vs, _ = vtrace(
            torch.stack([log_rhos[s, a], log_rhos[x, u]]),
            torch.stack([reward[s, a], reward[x, u]]),
            torch.stack([value[s], value[x]]),
            torch.stack([value[x], value[y]]),
            no, no, GAMMA, 1.0, rho_bar, min(1.0, rho_bar),
        )  # fmt: skip
        new = torch.zeros_like(value).index_add_(0, s, weight * vs[0])
        done = (new - value).abs().max() < 1e-13
        value = new
        if done:
            break
    torch.testing.assert_close(value, wanted, rtol=0, atol=1e-8)


def test_targets_carry_no_gradient_and_arguments_stay_as_they_were() -> None:
    batch = random_batch(5, 3, 8)
    batch["values"].requires_grad_()
    batch["log_rhos"].requires_grad_()
    before = {k: v.detach().clone() for k, v in batch.items()}
    for backend in CPU_BACKENDS:
        results = (
            *vtrace(**batch, gamma=GAMMA, backend=backend),
            *gae(**on_policy(batch), gamma=GAMMA, lam=0.9, backend=backend),
            *n_step(**on_policy(batch), gamma=GAMMA, backend=backend),
            *n_step(**on_policy(batch), gamma=GAMMA, n=2),
        )
        assert not any(result.requires_grad for result in results)
    assert all(torch.equal(batch[k].detach(), before[k]) for k in batch)


def test_results_do_not_depend_on_memory_layout() -> None:
    batch = random_batch(6, 4, 9)
    strided = {k: v.T.contiguous().T for k, v in batch.items()}
    for backend in CPU_BACKENDS:
        for ours, wanted in zip(
            vtrace(**strided, gamma=GAMMA, backend=backend),
            vtrace(**batch, gamma=GAMMA, backend=backend),
            strict=True,
        ):
            assert torch.equal(ours, wanted)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"gamma": -0.1}, ConfigError, "gamma must be in [0, 1], got -0.1"),
        ({"gamma": 1.1}, ConfigError, "got 1.1"),
        ({"gamma": math.nan}, ConfigError, "got nan"),
        ({"lam": 2.0}, ConfigError, "lam must be in [0, 1], got 2.0"),
        ({"rho_bar": 0.5}, ConfigError, "rho_bar=0.5 and c_bar=1.0"),
        ({"rho_pg_bar": -1.0}, ConfigError, "rho_pg_bar must be >= 0, got -1.0"),
        ({"backend": "jax"}, ConfigError, "got 'jax'"),
        ({"backend": "triton"}, ConfigError, "wants tensors on cuda, got cpu"),
        ({"rewards": torch.zeros(3, 4)}, LearnerError, "(3, 4)"),
        ({"values": torch.zeros(4, 3)}, LearnerError, "torch.float32"),
        ({"truncated": torch.zeros(4, 3)}, LearnerError, "truncated must be bool"),
    ],
)
def test_bad_input_is_named_before_anything_is_computed(change, error, words) -> None:
    arguments = {**random_batch(4, 3, 11), "gamma": GAMMA, **change}
    with pytest.raises(error) as caught:
        vtrace(**arguments)
    assert words in str(caught.value)


def test_an_empty_fragment_is_refused() -> None:
    batch = {k: v[:0] for k, v in random_batch(4, 3, 11).items()}
    with pytest.raises(LearnerError, match="T >= 1"):
        vtrace(**batch, gamma=GAMMA)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_non_finite_ratios_are_found_or_run_through(bad: float, backend: str) -> None:
    batch = random_batch(4, 3, 12, p_terminated=0, p_truncated=0)
    batch["log_rhos"][2, 1] = bad
    with pytest.raises(NonFiniteError, match=r"log_rhos\[2, 1\]"):
        vtrace(**batch, gamma=GAMMA, backend=backend)
    vs, _ = vtrace(**batch, gamma=GAMMA, backend=backend, check_finite=False)
    assert math.isnan(bad) == bool(vs[0, 1].isnan())
    assert not vs[:, 0].isnan().any()


@pytest.mark.parametrize("function", [vtrace, gae, n_step])
@pytest.mark.parametrize("name", ["rewards", "values", "terminated"])
@pytest.mark.parametrize("kind", ["numpy", "list"])
def test_other_arrays_than_tensors_are_named(function, name, kind) -> None:
    batch = random_batch(4, 3, 0)
    batch = batch if function is vtrace else on_policy(batch)
    settings = {"gamma": GAMMA} | ({"lam": 0.9} if function is gae else {})
    batch[name] = batch[name].numpy() if kind == "numpy" else batch[name].tolist()
    found = {"numpy": "ndarray", "list": "list"}[kind]
    with pytest.raises(TypeError, match=rf"^{name} must be a torch\.Tensor, got {found}$"):
        function(**batch, **settings)


@pytest.mark.parametrize(
    ("function", "name", "value"),
    [
        (vtrace, "gamma", "0.9"),
        (gae, "gamma", None),
        (n_step, "gamma", True),
        (gae, "lam", "1"),
        (vtrace, "rho_bar", "inf"),
        (vtrace, "c_bar", None),
    ],
)
def test_settings_of_another_type_are_named(function, name, value) -> None:
    batch = random_batch(4, 3, 0)
    batch = batch if function is vtrace else on_policy(batch)
    settings = {"gamma": GAMMA} | ({"lam": 0.9} if function is gae else {}) | {name: value}
    with pytest.raises(TypeError, match=rf"^{name} must be a number, got {value!r}$"):
        function(**batch, **settings)


@pytest.mark.parametrize("n", [2.5, True, "3"])
def test_n_must_be_a_whole_number(n: object) -> None:
    with pytest.raises(TypeError, match=rf"^n must be a whole number or None, got {n!r}$"):
        n_step(**on_policy(random_batch(4, 3, 0)), gamma=GAMMA, n=n)


@pytest.mark.parametrize("function", [vtrace, gae, n_step])
def test_numba_names_the_dtypes_it_knows(function) -> None:
    batch = random_batch(4, 3, 0, torch.bfloat16)
    batch = batch if function is vtrace else on_policy(batch)
    settings = {"gamma": GAMMA} | ({"lam": 0.9} if function is gae else {})
    words = r"backend 'numba' wants float32 or float64 tensors, got torch\.bfloat16"
    with pytest.raises(ConfigError, match=words):
        function(**batch, **settings, backend="numba")


@pytest.mark.parametrize("n", [0, -3])
def test_n_must_be_positive(n: int) -> None:
    with pytest.raises(ConfigError, match=f"got {n}"):
        n_step(**on_policy(random_batch(4, 3, 13)), gamma=GAMMA, n=n)


def test_numba_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    # The answer is kept for the process, so the function itself says that numba is not there.
    monkeypatch.setattr("rlcore.ops.backends.is_installed", lambda package: package != "numba")
    with pytest.raises(MissingDependencyError, match=r"rlcore\[fast\]"):
        vtrace(**random_batch(4, 3, 14), gamma=GAMMA, backend="numba")


@pytest.mark.gpu
@pytest.mark.parametrize(("steps", "width"), [(1, 1), (2, 127), (20, 128), (64, 4097)])
def test_triton_equals_the_reference(steps: int, width: int) -> None:
    batch = {k: v.cuda() for k, v in random_batch(steps, width, 15, torch.float32).items()}
    batch["log_rhos"][0, 0] = -math.inf
    levels = {"gamma": 0.99, "lam": 0.95, "rho_bar": 2.0, "c_bar": 1.0, "rho_pg_bar": 1.5}
    for auto, twin in zip(
        vtrace(**batch, **levels),
        vtrace(**batch, **levels, backend="reference"),
        strict=True,
    ):
        torch.testing.assert_close(auto, twin, rtol=1e-5, atol=1e-5)
    for function in (gae, n_step):
        extra = {"gamma": 0.99} | ({"lam": 0.95} if function is gae else {})
        ours = function(**on_policy(batch), **extra, backend="triton")
        twin = function(**on_policy(batch), **extra, backend="reference")
        if function is n_step:  # the reference loops over single entries
            twin = n_step(**{k: v.cpu() for k, v in on_policy(batch).items()}, gamma=0.99)
        for mine, wanted in zip(ours, twin, strict=True):
            torch.testing.assert_close(mine.cpu(), wanted.cpu(), rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
def test_triton_keeps_nan() -> None:
    batch = {k: v.cuda() for k, v in random_batch(4, 3, 16, torch.float32).items()}
    batch["log_rhos"][3, 1] = math.nan
    vs, advantages = vtrace(**batch, gamma=0.99)
    assert vs[3, 1].isnan()
    assert advantages[3, 1].isnan()
