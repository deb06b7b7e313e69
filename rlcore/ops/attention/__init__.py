"""Attention: dense masks, and new tokens over the blocks of a key and value pool."""
