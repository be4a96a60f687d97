"""The way back from noise to data: times, steps, solvers, guidance, inversion, likelihoods."""
