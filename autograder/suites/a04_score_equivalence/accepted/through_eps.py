# Each score through the noise, and Tweedie through both.

# %% solution="convert"
def factors(alpha_bar, like):
    return torch.sqrt(1 - alpha_bar)[(...,) + (None,) * (like.ndim - 1)]


def eps_to_score(eps, alpha_bar):
    return eps / factors(alpha_bar, eps) * -1


def score_to_eps(score, alpha_bar):
    return -(score * factors(alpha_bar, score))


# %% solution="tweedie"
def tweedie(x_t, score, alpha_bar):
    eps, noise = score_to_eps(score, alpha_bar), factors(alpha_bar, x_t)
    return (x_t - noise * eps) / torch.sqrt(1 - noise**2)


# %% solution="average"
def posterior(x, data, alpha_bar):
    eps = (x[:, None] - alpha_bar**0.5 * data) / (1 - alpha_bar) ** 0.5
    log_likelihood = -0.5 * (eps**2).sum(-1)
    return torch.exp(log_likelihood - torch.logsumexp(log_likelihood, 1, keepdim=True))


def expected_score(x, data, alpha_bar):
    mean = posterior(x, data, alpha_bar) @ data
    return -(x - alpha_bar**0.5 * mean) / (1 - alpha_bar)
