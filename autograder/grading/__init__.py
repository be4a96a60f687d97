"""Grade one submission, or many: the pool, the store of grades, and the mutants that prove a suite."""
