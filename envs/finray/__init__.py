"""A flexible fin ray in a stream: fluid-structure interaction."""
