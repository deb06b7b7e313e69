"""Action distributions as pure functions of a network's outputs."""
