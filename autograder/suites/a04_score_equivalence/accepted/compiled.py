# Functions through torch.compile, torch.func.vmap and torch.func.grad.

# %% solution="convert"
def wide(alpha_bar, like):
    return alpha_bar.view(alpha_bar.shape + (1,) * (like.dim() - 1)).expand_as(like)


@torch.compile
def eps_to_score(eps, alpha_bar):
    return -eps * torch.rsqrt(1 - wide(alpha_bar, eps))


def score_to_eps(score, alpha_bar):
    return torch.where(score == score, -score * torch.sqrt(1 - wide(alpha_bar, score)), score)


# %% solution="mixture"
def one_joint(x, weight, mean, variance):
    return (
        torch.log(weight)
        - ((x - mean) @ (x - mean)) / variance / 2
        - len(mean) * torch.log(2 * torch.pi * variance) / 2
    )


def one_density(x, weights, means, variances):
    return torch.logsumexp(torch.func.vmap(one_joint, (None, 0, 0, 0))(x, weights, means, variances), 0)


def log_joint(x, weights, means, variances):
    return torch.func.vmap(torch.func.vmap(one_joint, (None, 0, 0, 0)), (0, None, None, None))(
        x, weights, means, variances
    )


def log_density(x, weights, means, variances):
    return torch.func.vmap(one_density, (0, None, None, None))(x, weights, means, variances)


def mixture_score(x, weights, means, variances):
    return torch.func.vmap(torch.func.grad(one_density), (0, None, None, None))(x, weights, means, variances)
