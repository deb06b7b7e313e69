"""Reasoning tasks whose answers a program verifies."""
