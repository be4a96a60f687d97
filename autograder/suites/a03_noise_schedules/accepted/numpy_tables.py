# NumPy inside, tensors outside.

# %% solution="linear"
def linear_schedule(T, beta_min=1e-4, beta_max=0.02):
    import numpy as np

    return torch.from_numpy(np.append(1.0, np.cumprod(1 - np.linspace(beta_min, beta_max, T))))


# %% solution="cosine"
def cosine_schedule(T, s=0.008, beta_max=0.999):
    import numpy as np

    f = (1 + np.cos((np.arange(T + 1) / T + s) / (1 + s) * np.pi)) / 2
    alpha = np.maximum(f[1:] / f[:-1], 1 - beta_max)
    return torch.tensor(np.concatenate([[1.0], np.cumprod(alpha)]))


# %% solution="log_snr"
def log_snr(alpha_bar):
    import numpy as np

    a = np.asarray(alpha_bar)[1:]
    return torch.tensor(-np.log(1 / a - 1))


# %% solution="share"
def share(alpha_bar, low, high):
    level = log_snr(alpha_bar).numpy()
    return float(((low <= level) * (level < high)).sum() / level.size)
