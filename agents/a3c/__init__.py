"""A3C: asynchronous advantage actor-critic (Mnih et al. 2016, arXiv 1602.01783)."""
