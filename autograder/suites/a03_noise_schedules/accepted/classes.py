# A class with the answers as its methods; the verdict with capitals, and numbers that are tensors.

# %% solution="linear"
class Table:
    def __init__(self, alpha):
        self.alpha = alpha

    def product(self):
        whole = torch.ones(len(self.alpha) + 1, dtype=torch.float64)
        for t, alpha in enumerate(self.alpha, 1):
            whole[t] = whole[t - 1] * alpha
        return whole


def linear_schedule(T, beta_min=1e-4, beta_max=0.02):
    step = (beta_max - beta_min) / (T - 1)
    return Table([1 - beta_min - t * step for t in range(T)]).product()


# %% solution="cosine"
def cosine_schedule(T, s=0.008, beta_max=0.999):
    def half_angle(t):
        return 0.5 + 0.5 * math.cos((t / T + s) / (1 + s) * math.pi)

    return Table([max(half_angle(t) / half_angle(t - 1), 1 - beta_max) for t in range(1, T + 1)]).product()


# %% solution="spaced"
def spaced(T, steps):
    return [round(T - k * T / steps) for k in range(steps + 1)]


# %% solution="loss"
def loss(network, x0, t, noise, alpha_bar):
    rates = torch.stack([alpha_bar, 1 - alpha_bar]).sqrt()[:, t].to(x0.dtype)  # (2, B)
    x_t = torch.einsum("kb,kbd->bd", rates, torch.stack([x0, noise]))
    return torch.nn.MSELoss()(network(x_t, t), noise)


# %% solution="verdict"
def verdict():
    return {
        "lowest_loss": "Linear",
        "best_at_10": "Cosine ",
        "best_at_100": "COSINE",
        "linear_over_cosine_at_10": torch.tensor(1.6),
        "cosine_10_over_100": torch.tensor([1.7]),
    }
