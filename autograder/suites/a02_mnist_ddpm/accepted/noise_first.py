# All noise of the sampler drawn in one block, in another order; the smaller variance through the noise.

# %% solution="sample"
def sample(network, n, alpha_bar, generator):
    steps = len(alpha_bar) - 1
    noise = torch.randn(steps + 1, n, 1, 28, 28, generator=generator)
    alpha = torch.cat([torch.ones(1), alpha_bar[1:] / alpha_bar[:-1]])
    x = noise[steps]
    for t in range(steps, 0, -1):
        with torch.inference_mode():
            eps = network(x, torch.full((n,), t, dtype=torch.long)).float()
        variance = (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]) * (1 - alpha[t])  # 0 at t = 1
        x = (x - (1 - alpha[t]) / torch.sqrt(1 - alpha_bar[t]) * eps) / torch.sqrt(alpha[t])
        x = x + variance.sqrt() * noise[t - 1]
    return x.clamp(min=-1, max=1)


# %% solution="schedule"
def linear_schedule(T, beta_min=0.0004, beta_max=0.08):
    alpha_bar = torch.ones(T + 1, dtype=torch.float64)
    for t in range(1, T + 1):
        alpha_bar[t] = alpha_bar[t - 1] * (1 - beta_min - (beta_max - beta_min) * (t - 1) / (T - 1))
    return alpha_bar.float()
