# NumPy where torch was expected, and a simulation that draws its noise in another order.
import numpy as np


# %% solution="q_sample"
def q_sample(x_s, s, t, alpha_bar, extra, noise):
    import numpy as np

    alpha_bar, extra, s, t = (np.asarray(value) for value in (alpha_bar, extra, s, t))
    variance = 1 - alpha_bar + extra
    ratio = (alpha_bar[t] / alpha_bar[s])[:, None, None, None]
    added = variance[t][:, None, None, None] - ratio * variance[s][:, None, None, None]
    return np.sqrt(ratio) * np.asarray(x_s) + np.sqrt(added) * np.asarray(noise)


# %% solution="walk"
def walk(x0, betas, sigma, n, seed):
    import numpy as np

    rng = np.random.default_rng(seed)
    ends = np.full(n, x0, dtype=float)
    for start in range(0, n, 1000):  # a thousand walkers at a time
        x = ends[start : start + 1000]
        for beta in np.asarray(betas):
            x = np.sqrt(1 - beta) * x + rng.normal(0, np.sqrt(beta), len(x))
            x += rng.normal(0, sigma, len(x))
        ends[start : start + 1000] = x
    return np.array([ends.mean(), ends.var(ddof=1)])
