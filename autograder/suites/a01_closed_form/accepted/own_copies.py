# In place, but on copies of its own; generators in each function's hand; the moments by Welford's running sums.

# %% solution="snr"
def snr(alpha_bar, extra):
    noise = 1
    noise -= alpha_bar
    noise += extra
    return alpha_bar / noise


def log_snr(alpha_bar, extra):
    return sp.log(snr(alpha_bar, extra))


def alpha_bar_of(value, extra):
    a = sp.Symbol("a", positive=True)
    return sp.solve(sp.Eq(a, sp.exp(value) * (1 - a + extra)), a)[0]


# %% solution="q_sample"
def q_sample(x_s, s, t, alpha_bar, extra, noise):
    x, z = x_s.clone(), noise.clone()
    ratio = alpha_bar.index_select(0, t).div_(alpha_bar.index_select(0, s))
    variance = (1 - alpha_bar).add_(extra)
    fresh = variance[t].sub_(ratio * variance[s]).sqrt_()
    x.mul_(ratio.sqrt()[:, None, None, None])
    return x.add_(z.mul_(fresh[:, None, None, None]))


# %% solution="walk"
def walk(x0, betas, sigma, n, seed):
    import random

    dice, mean, squares = random.Random(seed), 0.0, 0.0
    steps = [((1 - beta) ** 0.5, beta**0.5) for beta in betas.tolist()]
    for k in range(1, n + 1):
        x = x0
        for signal, noise in steps:
            x = signal * x + dice.gauss(0, noise) + dice.gauss(0, sigma)
        step = x - mean
        mean += step / k
        squares += step * (x - mean)
    return mean, squares / (n - 1)
