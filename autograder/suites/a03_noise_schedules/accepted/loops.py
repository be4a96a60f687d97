# Plain loops, and lists of Python numbers.

# %% solution="linear"
def linear_schedule(T, beta_min=1e-4, beta_max=0.02):
    table = [1.0]
    for t in range(T):
        beta = beta_min + (beta_max - beta_min) * t / (T - 1)
        table.append(table[-1] * (1 - beta))
    return torch.tensor(table, dtype=torch.float64)


# %% solution="cosine"
def cosine_schedule(T, s=0.008, beta_max=0.999):
    def f(t):
        return math.cos((t / T + s) / (1 + s) * math.pi / 2) ** 2

    table = [1.0]
    for t in range(1, T + 1):
        table.append(table[-1] * max(f(t) / f(t - 1), 1 - beta_max))
    return torch.tensor(table, dtype=torch.float64)


# %% solution="share"
def share(alpha_bar, low, high):
    inside = [low <= math.log(a / (1 - a)) < high for a in alpha_bar[1:].tolist()]
    return sum(inside) / len(inside)


# %% solution="spaced"
def spaced(T, steps):
    return torch.tensor([int(T * (steps - k) / steps + 0.5) for k in range(steps + 1)])


# %% solution="loss"
def loss(network, x0, t, noise, alpha_bar):
    rows = [a**0.5 * x + (1 - a) ** 0.5 * z for x, z, a in zip(x0, noise, alpha_bar[t].tolist())]
    return torch.nn.functional.mse_loss(network(torch.stack(rows), t), noise)
