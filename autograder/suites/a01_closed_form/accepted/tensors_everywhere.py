# Every number a tensor, of shape () or (1,), in float32 where it is the default.

# %% solution="one_step"
def one_step(x_prev, alpha, sigma, eps, xi):
    x_prev, alpha, sigma, eps, xi = (torch.as_tensor([value]) for value in (x_prev, alpha, sigma, eps, xi))
    return alpha.sqrt() * x_prev + (1 - alpha).sqrt() * eps + sigma * xi


# %% solution="two_steps"
def two_steps(x0, alpha1, alpha2, sigma, eps1, xi1, eps2, xi2):
    a, b, s = (torch.tensor(value) for value in (alpha1, alpha2, sigma))
    x1 = a.sqrt() * x0 + (1 - a).sqrt() * eps1 + s * xi1
    weights = torch.stack([(b * (1 - a)).sqrt(), b.sqrt() * s, (1 - b).sqrt(), s])
    return {
        "x2": b.sqrt() * x1 + (1 - b).sqrt() * eps2 + s * xi2,
        "noise_variance": weights.square().sum(),
        "simplified": 1 - a * b + s.square() * (1 + b),
        "swapped": 1 - a * b + s.square() * (1 + a),
    }


# %% solution="induction"
def induction(alpha_bar_prev, extra_prev, alpha, sigma):
    bar, c, a, s = torch.tensor([alpha_bar_prev, extra_prev, alpha, sigma]).unbind()
    extra = torch.addcmul(s**2, a, c)
    return {"noise_variance": 1 - a * bar + extra, "extra": extra[None], "total": extra + 1}


# %% solution="posterior"
def posterior(alpha, sigma, alpha_bar_prev, extra_prev):
    # The product of the two Gaussians, from the inverse of a covariance of x_{t-1} and x_t given x_0.
    a, s, bar, c = torch.tensor([alpha, sigma, alpha_bar_prev, extra_prev])
    v = 1 - bar + c
    covariance = torch.stack([torch.stack([v, a.sqrt() * v]), torch.stack([a.sqrt() * v, a * v + 1 - a + s**2])])
    inverse = torch.linalg.inv(covariance)
    weight = -inverse[0, 1] / inverse[0, 0]
    return {
        "precision": inverse[0, 0],
        "variance": 1 / inverse[0, 0],
        "mean_xt": weight,
        "mean_x0": bar.sqrt() - weight * (a * bar).sqrt(),
    }


# %% solution="snr"
def snr(alpha_bar, extra):
    return torch.tensor(alpha_bar) / (1 - alpha_bar + extra)


def log_snr(alpha_bar, extra):
    return snr(alpha_bar, extra).log()


def alpha_bar_of(value, extra):
    return (1 + extra) * torch.sigmoid(torch.tensor([value]))


# %% solution="q_sample"
def q_sample(x_s, s, t, alpha_bar, extra, noise):
    x_s, alpha_bar, extra, noise = (value.float() for value in (x_s, alpha_bar, extra, noise))
    images = x_s.flatten(1).T  # (pixels, B): here the factors run along the last axis by themselves
    kept = alpha_bar[t] / alpha_bar[s]
    added = 1 - kept + extra[t] - kept * extra[s]
    return (images * kept.sqrt() + noise.flatten(1).T * added.sqrt()).T.reshape(x_s.shape)


# %% solution="walk"
def walk(x0, betas, sigma, n, seed):
    torch.manual_seed(seed)
    x = x0 * torch.ones(n)
    for beta in betas:
        x = x * torch.sqrt(1 - beta)
        x.add_(torch.sqrt(beta) * torch.randn(n)).add_(sigma * torch.randn(n))
    return torch.var_mean(x)[::-1]
