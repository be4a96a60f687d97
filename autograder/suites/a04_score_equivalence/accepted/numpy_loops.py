# NumPy and plain loops.

# %% solution="noisy"
def noisy(means, variances, alpha_bar):
    import numpy as np

    shrunk, spread = np.sqrt(alpha_bar) * np.asarray(means), 1 - alpha_bar * (1 - np.asarray(variances))
    return torch.from_numpy(shrunk), torch.from_numpy(spread)


# %% solution="mixture"
def log_joint(x, weights, means, variances):
    joint = torch.empty(len(x), len(weights), dtype=torch.float64)
    for k, (weight, mean, variance) in enumerate(zip(weights, means, variances.tolist())):
        for b, point in enumerate(x):
            constant = math.log(float(weight)) - len(point) / 2 * math.log(2 * math.pi * variance)
            joint[b, k] = constant - float(((point - mean) ** 2).sum()) / (2 * variance)
    return joint


def log_density(x, weights, means, variances):
    joint = log_joint(x, weights, means, variances)
    top = joint.max(1, keepdim=True).values
    return (top + (joint - top).exp().sum(1, keepdim=True).log())[:, 0]


def mixture_score(x, weights, means, variances):
    joint = log_joint(x, weights, means, variances)
    share = torch.exp(joint - log_density(x, weights, means, variances)[:, None])
    return torch.stack([sum(s * (m - p) / v for s, m, v in zip(row, means, variances)) for row, p in zip(share, x)])


# %% solution="matching"
def matching_loss(score, x0, noise, alpha_bar):
    x_t = alpha_bar**0.5 * x0 + (1 - alpha_bar) ** 0.5 * noise
    target = (alpha_bar**0.5 * x0 - x_t) / (1 - alpha_bar)
    return float(((score(x_t) - target) ** 2).sum() / len(x0))
