# Other ways to write the same: Python's powers, other algebra, lines in another order, one noise of the summed variance a step.

# %% solution="one_step"
def one_step(x_prev, alpha, sigma, eps, xi):
    return x_prev * alpha ** sp.Rational(1, 2) + xi * sigma + eps * (1 - alpha) ** sp.Rational(1, 2)


# %% solution="two_steps"
def two_steps(x0, alpha1, alpha2, sigma, eps1, xi1, eps2, xi2):
    first = one_step(x0, alpha1, sigma, eps1, xi1)
    second = one_step(first, alpha2, sigma, eps2, xi2)

    def shorter(a, b):
        return 1 + sigma**2 - b * (a - sigma**2)

    return {
        "swapped": shorter(alpha2, alpha1),
        "simplified": shorter(alpha1, alpha2),
        "noise_variance": alpha2 * (1 - alpha1) + alpha2 * sigma**2 + (1 - alpha2) + sigma**2,
        "x2": sp.expand(second),
    }


# %% solution="walk"
def walk(x0, betas, sigma, n, seed):
    noise = torch.randn(len(betas), n, generator=torch.Generator().manual_seed(seed + 7))
    x = torch.full((n,), float(x0))
    for beta, z in zip(betas, noise):
        x = torch.sqrt(1 - beta) * x + torch.sqrt(beta + sigma**2) * z
    return float(x.mean()), float(((x - x.mean()) ** 2).sum() / (n - 1))
