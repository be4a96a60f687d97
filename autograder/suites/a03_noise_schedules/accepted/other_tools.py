# Python's own tools and other formulas: accumulate, a half-angle, a lambda, an inverse hyperbolic tangent.

# %% solution="linear"
def linear_schedule(T, beta_min=1e-4, beta_max=0.02):
    from fractions import Fraction
    from itertools import accumulate

    rise = [float(Fraction(t, T - 1)) for t in range(T)]
    alphas = [1 - beta_min * (1 - u) - beta_max * u for u in rise]
    return torch.tensor(list(accumulate([1.0, *alphas], lambda a, b: a * b)), dtype=torch.float64)


# %% solution="cosine"
def cosine_schedule(T, s=0.008, beta_max=0.999):
    # Only the last step can exceed beta_max, because the betas of the cosine rise.
    angle = (torch.linspace(0, 1, T + 1, dtype=torch.float64) + s) * math.pi / (2 * (1 + s))
    alpha_bar = 1 / (1 + angle.tan().square()) / math.cos(float(angle[0])) ** 2
    alpha_bar[-1] = alpha_bar[-2] * max(1 - beta_max, float(alpha_bar[-1] / alpha_bar[-2]))
    return alpha_bar


# %% solution="log_snr"
log_snr = lambda alpha_bar: -2 * torch.atanh(1 - 2 * alpha_bar[1:])  # noqa: E731


# %% solution="share"
def share(alpha_bar, low, high):
    import numpy as np

    return np.mean([low <= level < high for level in log_snr(alpha_bar).tolist()])


# %% solution="spaced"
def spaced(T, steps):
    import numpy as np

    return torch.from_numpy(np.rint(np.linspace(0, T, steps + 1)).astype(int)[::-1].copy())
