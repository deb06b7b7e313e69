"""Nonlinear dynamics, cheap to step: systems to stabilise and to steer."""
