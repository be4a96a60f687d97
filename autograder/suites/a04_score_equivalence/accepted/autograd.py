# Derivatives by SymPy and by automatic differentiation instead of by hand.

# %% solution="derivation"
def derivation(x, x0, alpha_bar):
    point, variance = sp.Symbol("point", real=True), 1 - alpha_bar
    log_q = sp.log(sp.exp(-((point - sp.sqrt(alpha_bar) * x0) ** 2) / (2 * variance)) / sp.sqrt(2 * sp.pi * variance))
    score = sp.diff(log_q, point).subs(point, x)
    eps = (x - sp.sqrt(alpha_bar) * x0) / sp.sqrt(variance)
    return {"log_q": log_q.subs(point, x), "score": score, "eps": eps, "ratio": sp.simplify(eps / score)}


# %% solution="mixture"
def log_joint(x, weights, means, variances):
    parts = []
    for weight, mean, variance in zip(weights, means, variances):
        normal = torch.distributions.MultivariateNormal(mean, variance * torch.eye(len(mean), dtype=x.dtype))
        parts.append(weight.log() + normal.log_prob(x))
    return torch.stack(parts, 1)


def log_density(x, weights, means, variances):
    return log_joint(x, weights, means, variances).logsumexp(1)


def mixture_score(x, weights, means, variances):
    x = x.clone().requires_grad_(True)
    return torch.autograd.grad(log_density(x, weights, means, variances).sum(), x)[0]
