"""Learners: estimator x optimizer x parallelism behind one contract."""
