"""Validation of the fin ray's solver: cases with known answers, run once and kept as results.

``python -m envs.finray.validation CASE --out docs/results/finray`` runs a case, writes
``CASE.json`` and ``CASE.png`` and fails where a number leaves its band. ``all`` runs them in turn.
"""
