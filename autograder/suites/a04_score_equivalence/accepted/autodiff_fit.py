# The fit by the optimiser's own steps on matching_loss, whose target comes from eps_to_score; Tweedie row by row in NumPy.

# %% solution="tweedie"
def tweedie(x_t, score, alpha_bar):
    import numpy as np

    x, s, a = (np.asarray(value) for value in (x_t, score, alpha_bar))
    return np.stack([(x[i] + (1 - a[i]) * s[i]) / np.sqrt(a[i]) for i in range(len(a))])


# %% solution="matching"
def matching_loss(score, x0, noise, alpha_bar):
    a = torch.full((len(x0),), alpha_bar, dtype=x0.dtype)
    x_t = a.sqrt()[:, None] * x0 + (1 - a).sqrt()[:, None] * noise
    return (score(x_t) - eps_to_score(noise, a)).pow(2).sum(dim=1).mean()


# %% solution="fit"
def fit_score(features, x0, noise, alpha_bar):
    cache = {}

    def remembered(x):
        if "phi" not in cache:
            cache["phi"] = features(x)
        return cache["phi"]

    x_t = math.sqrt(alpha_bar) * x0 + math.sqrt(1 - alpha_bar) * noise
    orthonormal, scale = torch.linalg.qr(remembered(x_t))
    V = torch.zeros(orthonormal.shape[1], x0.shape[1], dtype=x0.dtype, requires_grad=True)
    optimiser = torch.optim.SGD([V], lr=len(x0) / 2)
    for _ in range(3):
        optimiser.zero_grad()
        matching_loss(lambda x: orthonormal @ V, x0, noise, alpha_bar).backward()
        optimiser.step()
    return torch.linalg.solve_triangular(scale, V.detach(), upper=True)
