"""Random mazes seen from inside, as pixels."""
