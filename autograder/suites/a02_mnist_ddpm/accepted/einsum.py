# Factors through einsum and broadcasting from the right, the loss as a sum over a number.

# %% solution="q_sample"
def q_sample(x0, t, noise, alpha_bar):
    signal, sigma = alpha_bar[t].sqrt(), (1 - alpha_bar[t]).sqrt()
    return torch.einsum("b,bchw->bchw", signal.to(x0.dtype), x0) + torch.einsum(
        "b,bchw->bchw", sigma.to(x0.dtype), noise
    )


# %% solution="loss"
def loss(network, x0, alpha_bar, generator):
    times = torch.randint(1, alpha_bar.shape[0], size=[x0.shape[0]], generator=generator)
    z = torch.randn(*x0.shape, generator=generator)
    error = network(q_sample(x0, times, z, alpha_bar), times) - z
    return torch.einsum("bchw,bchw->", error, error) / error.numel()


# %% solution="step"
def reverse_step(x_t, eps, t, noise, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[t - 1]
    ratio, last = a / b, float(t == 1)
    factors = torch.stack([ratio**-0.5, -(1 - ratio) / (ratio * (1 - a)).sqrt(), (1 - last) * (1 - ratio).sqrt()])
    return torch.einsum("k,kbchw->bchw", factors, torch.stack([x_t, eps, noise]))


# %% solution="sample"
def sample(network, n, alpha_bar, generator):
    times = torch.arange(len(alpha_bar) - 1, 0, -1)
    noise = torch.randn(len(times) + 1, n, 1, 28, 28, generator=generator)
    images = noise[0].clone()
    for z, t in zip(noise[1:], times):
        with torch.no_grad():
            images[:] = reverse_step(images, network(images, t.expand(n)), int(t), z, alpha_bar)
    return images.clamp_(-1, 1)
