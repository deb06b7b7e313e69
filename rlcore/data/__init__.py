"""What travels between actors and learners: array specs, shared memory, the trajectory ring."""
