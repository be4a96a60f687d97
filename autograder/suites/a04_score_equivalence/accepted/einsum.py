# Everything through einsum, distances by the binomial formula, and arguments of a Gaussian put together from parts.

# %% solution="convert"
def eps_to_score(eps, alpha_bar):
    return -torch.einsum("b...,b->b...", eps, (1 - alpha_bar).rsqrt())


def score_to_eps(score, alpha_bar):
    return torch.einsum("b...,b->b...", score.neg(), (1 - alpha_bar).sqrt())


# %% solution="mixture"
def squared_distance(x, y):
    return (
        torch.einsum("bd,bd->b", x, x)[:, None] - 2 * torch.einsum("bd,kd->bk", x, y) + torch.einsum("kd,kd->k", y, y)
    )


def log_joint(x, weights, means, variances):
    D = means.shape[-1]
    log_normaliser = -0.5 * D * (math.log(2 * math.pi) + torch.log(variances))
    return torch.log(weights) + log_normaliser - 0.5 * squared_distance(x, means) / variances


def log_density(x, weights, means, variances):
    return torch.logsumexp(log_joint(x, weights, means, variances), dim=1)


def mixture_score(x, weights, means, variances):
    share = torch.softmax(log_joint(x, weights, means, variances), dim=1) / variances
    return torch.einsum("bk,kd->bd", share, means) - share.sum(1, keepdim=True) * x


# %% solution="average"
def posterior(x, data, alpha_bar):
    logits = torch.einsum("bd,nd->bn", x, data) * alpha_bar**0.5 - alpha_bar * torch.einsum("nd,nd->n", data, data) / 2
    return torch.softmax(logits / (1 - alpha_bar), dim=1)


def expected_score(x, data, alpha_bar):
    return (alpha_bar**0.5 * torch.einsum("bn,nd->bd", posterior(x, data, alpha_bar), data) - x) / (1 - alpha_bar)


# %% solution="matching"
def matching_loss(score, x0, noise, alpha_bar):
    found = score(math.sqrt(alpha_bar) * x0 + math.sqrt(1 - alpha_bar) * noise)
    error = found + noise / math.sqrt(1 - alpha_bar)
    return torch.einsum("bd,bd->", error, error) / len(error)
