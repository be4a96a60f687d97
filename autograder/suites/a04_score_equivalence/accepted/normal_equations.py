# The fit by the normal equations and by a pseudo-inverse; single precision where that is enough.

# %% solution="fit"
def fit_score(features, x0, noise, alpha_bar):
    x_t = alpha_bar**0.5 * x0 + (1 - alpha_bar) ** 0.5 * noise
    phi = features(x_t)
    target = -noise / (1 - alpha_bar) ** 0.5
    return torch.linalg.solve(phi.T @ phi, phi.T @ target)


# %% solution="tweedie"
def tweedie(x_t, score, alpha_bar):
    rows = [(x + (1 - a) * s) / math.sqrt(a) for x, s, a in zip(x_t.float(), score.float(), alpha_bar.tolist())]
    return torch.stack(rows)


# %% solution="average"
def posterior(x, data, alpha_bar):
    squared = torch.cdist(x, alpha_bar**0.5 * data) ** 2
    return torch.softmax(-squared / 2 / (1 - alpha_bar), dim=1)


def expected_score(x, data, alpha_bar):
    x = x.clone().requires_grad_(True)
    squared = torch.cdist(x, alpha_bar**0.5 * data) ** 2
    log_density = torch.logsumexp(-squared / 2 / (1 - alpha_bar), dim=1)
    return torch.autograd.grad(log_density.sum(), x)[0]
