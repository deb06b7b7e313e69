"""Entries of the dynamics family in the catalogue."""

from __future__ import annotations

from envs.core.entry import Entry, Reference

POLICIES = "envs.dynamics.policies:make_"

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "dynamics/ks-v0",
        "envs.dynamics.ks:KuramotoSivashinskyEnv",
        "envs.dynamics.ks:KuramotoSivashinskyVectorEnv",
        max_episode_steps=400,
        cost="ms",
        summary="damp the chaos of a flame front (Kuramoto-Sivashinsky) with four actuators",
        references=(
            Reference("random", -1100.0, 220.0, 30, slow=True),
            Reference(POLICIES + "zero", -1090.0, 220.0, 30, slow=True),
            Reference(POLICIES + "ks_opposition", -418.0, 70.0, 30, slow=True),
        ),
    ),
    Entry(
        "dynamics/burgers-v0",
        "envs.dynamics.burgers:BurgersEnv",
        "envs.dynamics.burgers:BurgersVectorEnv",
        max_episode_steps=60,
        cost="ms",
        summary="make a viscous wave (Burgers) follow a moving level with two actuators",
        references=(
            Reference("random", -22.1, 4.0, 20, slow=True),
            Reference(POLICIES + "burgers_still", -42.2, 5.0, 20, slow=True),
            Reference(POLICIES + "burgers_proportional", -9.5, 1.5, 20, slow=True),
        ),
    ),
    Entry(
        "dynamics/lorenz-v0",
        "envs.dynamics.lorenz:LorenzEnv",
        "envs.dynamics.lorenz:LorenzVectorEnv",
        max_episode_steps=200,
        cost="us",
        summary="hold the Lorenz system at an unstable fixed point",
        references=(
            Reference("random", -785.0, 100.0, 60),
            Reference(POLICIES + "zero", -842.0, 100.0, 60),
            Reference(POLICIES + "lorenz_lqr", -73.0, 45.0, 60),
        ),
    ),
    Entry(
        "dynamics/vanderpol-v0",
        "envs.dynamics.vanderpol:VanDerPolEnv",
        "envs.dynamics.vanderpol:VanDerPolVectorEnv",
        max_episode_steps=200,
        cost="us",
        summary="bring the Van der Pol oscillator to rest against its limit cycle",
        references=(
            Reference("random", -540.0, 35.0, 60),
            Reference(POLICIES + "zero", -503.0, 30.0, 60),
            Reference(POLICIES + "vanderpol_lqr", -29.5, 17.0, 60),
        ),
    ),
    Entry(
        "dynamics/pendulum-v0",
        "envs.dynamics.pendulum:PendulumEnv",
        "envs.dynamics.pendulum:PendulumVectorEnv",
        max_episode_steps=200,
        cost="us",
        summary="swing up a pendulum, seen by its angle and rate",
        references=(
            Reference("random", -1220.0, 150.0, 60),
            Reference(POLICIES + "pendulum_swingup", -151.0, 45.0, 60),
        ),
    ),
    Entry(
        "dynamics/cartpole-swingup-v0",
        "envs.dynamics.cartpole_swingup:CartPoleSwingUpEnv",
        "envs.dynamics.cartpole_swingup:CartPoleSwingUpVectorEnv",
        max_episode_steps=500,
        cost="us",
        summary="swing a pole up from a cart and balance it, with a continuous force",
        references=(
            Reference("random", 5.1, 6.0, 30),
            Reference(POLICIES + "cartpole_swingup", 425.9, 2.0, 15),
        ),
    ),
)
