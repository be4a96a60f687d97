# The fit by NumPy, one column at a time; the loss as a NumPy number; the mixture by SciPy.

# %% solution="fit"
def fit_score(features, x0, noise, alpha_bar):
    import numpy as np

    x_t = np.sqrt(alpha_bar) * x0.numpy() + np.sqrt(1 - alpha_bar) * noise.numpy()
    phi = np.asarray(features(torch.from_numpy(x_t)))
    columns = [np.linalg.lstsq(phi, -column / np.sqrt(1 - alpha_bar), rcond=None)[0] for column in noise.numpy().T]
    return np.stack(columns, axis=-1)


# %% solution="matching"
def matching_loss(score, x0, noise, alpha_bar):
    import numpy as np

    x_t = np.sqrt(alpha_bar) * x0 + np.sqrt(1 - alpha_bar) * noise
    error = np.asarray(score(x_t)) + np.asarray(noise) / np.sqrt(1 - alpha_bar)
    return np.mean(np.sum(np.square(error), axis=-1))


# %% solution="noisy"
def noisy(means, variances, alpha_bar):
    deviations = torch.hypot(math.sqrt(alpha_bar) * variances.sqrt(), torch.tensor(math.sqrt(1 - alpha_bar)).double())
    return (means * alpha_bar**0.5, deviations**2)


# %% solution="mixture"
def log_joint(x, weights, means, variances):
    import numpy as np
    from scipy.stats import multivariate_normal

    x, weights, means, variances = (np.asarray(value, dtype=np.float64) for value in (x, weights, means, variances))
    columns = [
        np.log(w) + np.atleast_1d(multivariate_normal.logpdf(x, m, v * np.eye(len(m))))
        for w, m, v in zip(weights, means, variances)
    ]
    return torch.from_numpy(np.stack(columns, 1))


def log_density(x, weights, means, variances):
    from scipy.special import logsumexp

    return torch.from_numpy(logsumexp(log_joint(x, weights, means, variances).numpy(), axis=1))


def mixture_score(x, weights, means, variances):
    share = (log_joint(x, weights, means, variances).T - log_density(x, weights, means, variances)).exp()  # (K, B)
    return sum(s[:, None] * (m - x) / v for s, m, v in zip(share, means, variances))
