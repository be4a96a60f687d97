# The larger variance, clipped guesses, and the last step apart from the loop.

# %% solution="step"
def reverse_step(x_t, eps, t, noise, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[t - 1]
    x0 = torch.clip((x_t - (1 - a) ** 0.5 * eps) * a**-0.5, -1.0, 1.0)
    if t == 1:
        return x0
    mean = (b.sqrt() * (1 - a / b) * x0 + (a / b).sqrt() * (1 - b) * x_t) / (1 - a)
    return mean + (1 - a / b) ** 0.5 * noise


# %% solution="sample"
@torch.no_grad()
def sample(network, n, alpha_bar, generator):
    T = len(alpha_bar) - 1
    x = torch.randn(n, 1, 28, 28, generator=generator)

    def guess(x, t):
        eps = network(x, torch.full((n,), t))
        return torch.clamp((x - (1 - alpha_bar[t]) ** 0.5 * eps) * alpha_bar[t] ** -0.5, -1.0, 1.0)

    for t in range(T, 1, -1):
        a, b = alpha_bar[t], alpha_bar[t - 1]
        beta = 1 - a / b
        mean = (b.sqrt() * beta * guess(x, t) + (a / b).sqrt() * (1 - b) * x) / (1 - a)
        x = torch.normal(mean, beta.sqrt().expand_as(mean), generator=generator)
    return guess(x, 1)


# %% solution="schedule"
def linear_schedule(T, beta_min=0.0004, beta_max=0.08):
    table = [1.0]
    for k in range(T):
        table.append(table[-1] * (1 - beta_min * (1 - k / (T - 1)) - beta_max * k / (T - 1)))
    return torch.tensor(table)
