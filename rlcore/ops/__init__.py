"""Pure functions on tensors; each fast path has a readable reference twin."""
