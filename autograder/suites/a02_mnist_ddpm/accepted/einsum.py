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
