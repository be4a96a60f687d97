# Tables in NumPy, and all steps' coefficients computed before the first.

# %% solution="schedule"
def linear_schedule(T, beta_min=0.0004, beta_max=0.08):
    import numpy as np

    beta = np.linspace(beta_min, beta_max, num=T, endpoint=True, dtype=np.float64)
    return torch.as_tensor(np.append(1.0, np.multiply.accumulate(1.0 - beta)), dtype=torch.float32)


# %% solution="q_sample"
def q_sample(x0, t, noise, alpha_bar):
    import numpy as np

    a = alpha_bar.numpy()[np.asarray(t)][:, None, None, None]
    return torch.from_numpy(np.sqrt(a) * x0.numpy() + np.sqrt(1 - a) * noise.numpy())


# %% solution="loss"
def loss(network, x0, alpha_bar, generator):
    T = alpha_bar.numel() - 1
    t = (torch.rand(len(x0), generator=generator) * T).floor().long() + 1
    noise = torch.empty_like(x0).normal_(generator=generator)
    a = alpha_bar.index_select(0, t).view(-1, 1, 1, 1)
    found = network(a.sqrt() * x0 + (1 - a).sqrt() * noise, t)
    return torch.mean((noise - found) ** 2)


# %% solution="step"
def reverse_step(x_t, eps, t, noise, alpha_bar):
    import numpy as np

    bar = np.asarray(alpha_bar, dtype=np.float64)
    beta = 1 - bar[t] / bar[t - 1]
    x, e, z = (np.asarray(value, dtype=np.float64) for value in (x_t, eps, noise))
    sigma = np.sqrt((1 - bar[t - 1]) / (1 - bar[t]) * beta)
    return (x - beta / np.sqrt(1 - bar[t]) * e) / np.sqrt(1 - beta) + sigma * z


# %% solution="sample"
def sample(network, n, alpha_bar, generator):
    import numpy as np

    bar = alpha_bar.double().numpy()
    alpha, beta = bar[1:] / bar[:-1], 1 - bar[1:] / bar[:-1]
    of_x0, of_x = np.sqrt(bar[:-1]) * beta / (1 - bar[1:]), np.sqrt(alpha) * (1 - bar[:-1]) / (1 - bar[1:])
    sigma = np.sqrt((1 - bar[:-1]) / (1 - bar[1:]) * beta)
    x = torch.randn((n, 1, 28, 28), generator=generator)
    for k in reversed(range(len(alpha))):
        with torch.no_grad():
            eps = network(x, torch.full((n,), k + 1))
        x0 = (x - float(np.sqrt(1 - bar[k + 1])) * eps) / float(np.sqrt(bar[k + 1]))
        x = float(of_x0[k]) * torch.clamp(x0, -1, 1) + float(of_x[k]) * x
        x = x + float(sigma[k]) * torch.randn(x.shape, generator=generator)
    return x.clip(-1, 1)
