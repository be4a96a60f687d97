# NumPy where torch was expected, and a simulation that draws its noise in another order.
import numpy as np


# %% solution="q_sample"
def q_sample(x0, t, alpha_bar, noise):
    import numpy as np

    a = np.asarray(alpha_bar)[np.asarray(t)][:, None, None, None]
    return torch.from_numpy(np.sqrt(a) * np.asarray(x0) + np.sqrt(1 - a) * np.asarray(noise))


# %% solution="walk"
def walk(x0, betas, n, seed):
    import numpy as np

    rng = np.random.default_rng(seed)
    ends = np.full(n, x0, dtype=float)
    for start in range(0, n, 1000):  # a thousand walkers at a time
        x = ends[start : start + 1000]
        for beta in np.asarray(betas):
            x = np.sqrt(1 - beta) * x + rng.normal(0, np.sqrt(beta), len(x))
        ends[start : start + 1000] = x
    return ends.mean(), ends.var(ddof=1)
