"""What ``rlcore bench envs`` measures; each function runs in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

Result = dict[str, Any]
WARM_UP_S = 0.5


def env_steps(
    id: str, form: str, seconds: float, num_envs: int = 1, kwargs: dict[str, Any] | None = None
) -> Result:
    """Environment steps per second of one form: ``vector``, ``plain`` or ``gymnasium``."""
    from experiments.env_bench import steppers

    play = steppers(id, num_envs, dict(kwargs or {}), (form,))[form]
    play(WARM_UP_S)  # what is compiled or cached is there from now on
    return {"value": play(seconds), "num_envs": num_envs}


def task_rewards(task: str, seconds: float, batched: bool = True, batch: int = 512) -> Result:
    """Completions judged per second, half of them right, by ``rewards`` or one after the other."""
    import numpy as np

    from envs import reasoning

    made = getattr(reasoning, task)(**({"size": 9} if task == "SudokuTask" else {}))
    rng = np.random.default_rng(0)
    items = [made.sample(rng) for _ in range(batch // 2)]
    pairs = [(item, made.reference(item)) for item in items]
    wrong = [(item, text) for item, (_, text) in zip(items, pairs[1:] + pairs[:1], strict=True)]
    pairs += wrong

    def judge() -> None:
        if batched:
            made.rewards(pairs)
        else:
            for item, completion in pairs:
                made.reward(item, completion)

    return {"value": _rate(judge, len(pairs), seconds)}


def lattice_updates(seconds: float, dtype: str = "float64", fast: bool = True) -> Result:
    """Cell updates per second of the fin ray's fluid on one core: Numba's or the reference's."""
    import numpy as np

    from envs.finray.fluid import Fluid

    fluid = Fluid(192, 128, 8e-4, np.full(128, 0.0125))
    if not fast:
        return {"value": _rate(*_whole_arrays(fluid, dtype), seconds)}
    from envs.finray.numba_chain import flow
    from envs.finray.numba_kernels import fluid_step

    c, f = flow(fluid, np.dtype(dtype)), fluid.uniform(1, dtype)[0]
    g, zero = f.copy(), np.zeros((128, 192), dtype)
    rest = (zero, zero, np.zeros(128, bool), zero[0], c.inlet, c.k, c.walls, c.open_ends)
    speed = np.zeros(190, dtype)

    def twice() -> None:
        fluid_step(f, g, *rest, speed)
        fluid_step(g, f, *rest, speed)

    return {"value": _rate(twice, 2 * 128 * 192, seconds)}


def _whole_arrays(fluid: Any, dtype: str) -> tuple[Callable[[], None], int]:
    """Return one stream-and-collide of NumPy arrays, as the reference engine does it, and cells."""
    import numpy as np

    from envs.finray.lattice import collide, relaxation_rate

    moves = [(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, -1), (-1, 1)]
    fields = [[*fluid.uniform(1, dtype)[0]]]
    omega = relaxation_rate(8e-4)

    def step() -> None:
        streamed = [np.roll(f, move, (0, 1)) for f, move in zip(fields[0], moves, strict=True)]
        fields[0], _, _ = collide(streamed, 0.0, 0.0, omega)

    return step, fields[0][0].size


def peer_frames(package: str, seconds: float, size: int = 84) -> Result:
    """Frames per second of a first-person environment of another package.

    MiniWorld draws ``size`` by ``size`` pixels; ViZDoom its fewest, 160 by 120, which are 2.7 times
    as many.
    """
    import gymnasium

    if package == "miniworld":
        import pyglet  # type: ignore[import-not-found]

        pyglet.options["headless"] = True  # before miniworld asks for a window
        import miniworld  # type: ignore[import-not-found]  # noqa: F401 - registers

        env = gymnasium.make("MiniWorld-Maze-v0", obs_width=size, obs_height=size)
    else:
        import vizdoom  # type: ignore[import-not-found]
        import vizdoom.gymnasium_wrapper  # type: ignore[import-not-found]

        smallest = vizdoom.ScreenResolution.RES_160X120
        env = gymnasium.make("VizdoomMyWayHome-v1", frame_skip=1, screen_resolution=smallest)
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(256)]
    count = 0

    def step() -> None:
        nonlocal count
        _, _, terminated, truncated, _ = env.step(actions[count % 256])
        count += 1
        if terminated or truncated:
            env.reset()

    return {"value": _rate(step, 1, seconds)}


def _rate(call: Callable[[], None], units: int, seconds: float) -> float:
    """Return units per second of ``call``, which does ``units`` of them."""
    until = time.perf_counter() + WARM_UP_S
    call()
    while time.perf_counter() < until:
        call()
    started, calls = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < seconds:
        call()
        calls += 1
    return calls * units / elapsed
