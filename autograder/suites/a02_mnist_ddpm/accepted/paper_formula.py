# The paper's own formula for the mean, the larger variance, and noise that is drawn before the time.

# %% solution="loss"
def loss(network, x0, alpha_bar, generator):
    noise = torch.randn(x0.shape, generator=generator)
    t = 1 + torch.randint(0, len(alpha_bar) - 1, (x0.shape[0],), generator=generator)
    return torch.nn.functional.mse_loss(network(q_sample(x0, t, noise, alpha_bar), t), noise)


# %% solution="step"
def reverse_step(x_t, eps, t, noise, alpha_bar):
    alpha = alpha_bar[t] / alpha_bar[t - 1]
    x = (x_t - (1 - alpha) / (1 - alpha_bar[t]).sqrt() * eps) / alpha.sqrt()
    if t > 1:
        x += (1 - alpha).sqrt() * noise
    return x


# %% solution="sample"
@torch.no_grad()
def sample(network, n, alpha_bar, generator):
    x = torch.randn((n, 1, 28, 28), generator=generator)
    for t in reversed(range(1, len(alpha_bar))):
        alpha = alpha_bar[t] / alpha_bar[t - 1]
        eps = network(x, torch.tensor([t] * n))
        x = (x - (1 - alpha) / (1 - alpha_bar[t]).sqrt() * eps) / alpha.sqrt()
        if t > 1:
            x = x + (1 - alpha).sqrt() * torch.randn(x.shape, generator=generator)
    return torch.clip(x, -1, 1)
