# Products as padded rows and as sums of logarithms, loops that give lists, and the loss as a sum of means.

# %% solution="linear"
def linear_schedule(T, beta_min=1e-4, beta_max=0.02):
    t = torch.arange(1, T + 1, dtype=torch.float64)
    beta = torch.lerp(torch.tensor(beta_min).double(), torch.tensor(beta_max).double(), (t - 1) / (T - 1))
    return torch.nn.functional.pad(torch.cumprod(1 - beta, 0), (1, 0), value=1.0)


# %% solution="cosine"
def cosine_schedule(T, s=0.008, beta_max=0.999):
    def log_f(t):
        return 2 * torch.log(torch.cos((t + s * T) / (T + s * T) * math.pi / 2).abs())

    t = torch.arange(1, T + 1, dtype=torch.float64)
    log_alpha = torch.maximum(log_f(t) - log_f(t - 1), torch.tensor(1 - beta_max).double().log())
    return torch.cat([torch.zeros(1).double(), log_alpha]).cumsum(0).exp()


# %% solution="log_snr"
def log_snr(alpha_bar):
    return [math.log(a) - math.log1p(-a) for a in alpha_bar.tolist()[1:]]


# %% solution="share"
def share(alpha_bar, low, high):
    inside = 0
    for level in log_snr(alpha_bar):
        if low <= level and not level >= high:
            inside += 1
    return inside / (len(alpha_bar) - 1)


# %% solution="spaced"
def spaced(T, steps):
    return torch.tensor([(2 * T * k + steps) // (2 * steps) for k in reversed(range(steps + 1))], dtype=torch.int16)


# %% solution="loss"
def loss(network, x0, t, noise, alpha_bar):
    a = torch.index_select(alpha_bar, 0, t).reshape(len(x0), -1).type_as(x0)
    predicted = network(torch.sqrt(a) * x0 + torch.sqrt(1 - a) * noise, t)
    return torch.sum(torch.mean((noise - predicted) ** 2, dim=1)) / len(x0)
