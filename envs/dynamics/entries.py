"""Entries of the dynamics family in the catalogue."""

from __future__ import annotations

from envs.core.entry import Entry

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "dynamics/ks-v0",
        "envs.dynamics.ks:KuramotoSivashinskyEnv",
        "envs.dynamics.ks:KuramotoSivashinskyVectorEnv",
        max_episode_steps=400,
        cost="ms",
        summary="damp the chaos of a flame front (Kuramoto-Sivashinsky) with four actuators",
    ),
    Entry(
        "dynamics/burgers-v0",
        "envs.dynamics.burgers:BurgersEnv",
        "envs.dynamics.burgers:BurgersVectorEnv",
        max_episode_steps=60,
        cost="ms",
        summary="make a viscous wave (Burgers) follow a moving level with two actuators",
    ),
    Entry(
        "dynamics/lorenz-v0",
        "envs.dynamics.lorenz:LorenzEnv",
        "envs.dynamics.lorenz:LorenzVectorEnv",
        max_episode_steps=200,
        cost="us",
        summary="hold the Lorenz system at an unstable fixed point",
    ),
    Entry(
        "dynamics/vanderpol-v0",
        "envs.dynamics.vanderpol:VanDerPolEnv",
        "envs.dynamics.vanderpol:VanDerPolVectorEnv",
        max_episode_steps=200,
        cost="us",
        summary="bring the Van der Pol oscillator to rest against its limit cycle",
    ),
    Entry(
        "dynamics/pendulum-v0",
        "envs.dynamics.pendulum:PendulumEnv",
        "envs.dynamics.pendulum:PendulumVectorEnv",
        max_episode_steps=200,
        cost="us",
        summary="swing up a pendulum, seen by its angle and rate",
    ),
    Entry(
        "dynamics/cartpole-swingup-v0",
        "envs.dynamics.cartpole_swingup:CartPoleSwingUpEnv",
        "envs.dynamics.cartpole_swingup:CartPoleSwingUpVectorEnv",
        max_episode_steps=500,
        cost="us",
        summary="swing a pole up from a cart and balance it, with a continuous force",
    ),
)
