# Image by image, and double precision throughout.

# %% solution="q_sample"
def q_sample(x0, t, noise, alpha_bar):
    images = [alpha_bar[k] ** 0.5 * x + (1 - alpha_bar[k]) ** 0.5 * z for x, z, k in zip(x0, noise, t.tolist())]
    return torch.stack(images)


# %% solution="loss"
def loss(network, x0, alpha_bar, generator):
    t, noise, noisy = [], [], []
    for x in x0:
        time = torch.randint(1, len(alpha_bar), (1,), generator=generator)
        z = torch.randn(1, *x.shape, generator=generator)
        noisy.append(q_sample(x[None], time, z, alpha_bar))
        t.append(time)
        noise.append(z)
    return ((network(torch.cat(noisy), torch.cat(t)) - torch.cat(noise)) ** 2).mean()


# %% solution="schedule"
def linear_schedule(T, beta_min=0.0004, beta_max=0.08):
    import numpy as np

    beta = np.linspace(beta_min, beta_max, T)
    return torch.from_numpy(np.concatenate([[1.0], np.cumprod(1 - beta)])).to(torch.float32)
