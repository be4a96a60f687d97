# Python's math instead of SymPy, keys in capitals, NumPy scalars, a dict built line by line, a table of pairs for the moments.
import math

import numpy as np


# %% solution="one_step"
def one_step(x_prev, alpha, sigma, eps, xi):
    import math

    return math.sqrt(alpha) * x_prev + math.sqrt(1 - alpha) * eps + sigma * xi


# %% solution="two_steps"
def two_steps(x0, alpha1, alpha2, sigma, eps1, xi1, eps2, xi2):
    import numpy as np

    def variance(*steps):
        total = 0
        for alpha in steps:
            total = alpha * total + (1 - alpha) + sigma**2
        return np.float32(total)

    result = {"X2": one_step(one_step(x0, alpha1, sigma, eps1, xi1), alpha2, sigma, eps2, xi2)}
    result["Noise_variance"] = result["Simplified"] = variance(alpha1, alpha2)
    result["Swapped"] = variance(alpha2, alpha1)
    return result


# %% solution="limit"
def limit(x0, beta, sigma, t):
    mean, variance = x0, 0
    for _ in range(t):
        mean, variance = (1 - beta) ** 0.5 * mean, (1 - beta) * variance + beta + sigma**2
    return {"mean": mean, "variance": variance, "limit_mean": 0 * x0, "limit_variance": (beta + sigma**2) / beta}


# %% solution="walk"
def walk(x0, betas, sigma, n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.full((n,), x0)
    for beta in betas:
        x = one_step(x, 1 - float(beta), sigma, *torch.randn(2, n, generator=generator))
    return torch.stack([x.mean(), x.var()])
