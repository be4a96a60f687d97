# Other ways to write the same: Python's powers, other algebra, NumPy's loop, noise drawn in one block.

# %% solution="one_step"
def one_step(x_prev, alpha, eps):
    return x_prev * alpha ** sp.Rational(1, 2) + eps * (1 - alpha) ** sp.Rational(1, 2)


# %% solution="two_steps"
def two_steps(x0, alpha1, alpha2, eps1, eps2):
    first = one_step(x0, alpha1, eps1)
    second = one_step(first, alpha2, eps2)
    return {
        "simplified": 1 - alpha2 * alpha1,
        "noise_variance": (1 - alpha2) + alpha2 - alpha2 * alpha1,
        "signal": sp.sqrt(alpha2) * sp.sqrt(alpha1),
        "x2": sp.expand(second),
    }


# %% solution="walk"
def walk(x0, betas, n, seed):
    noise = torch.randn(len(betas), n, generator=torch.Generator().manual_seed(seed + 7))
    x = torch.full((n,), float(x0))
    for beta, z in zip(betas, noise):
        x = torch.sqrt(1 - beta) * x + torch.sqrt(beta) * z
    return float(x.mean()), float(((x - x.mean()) ** 2).sum() / (n - 1))
