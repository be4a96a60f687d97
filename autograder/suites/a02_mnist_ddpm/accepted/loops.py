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


# %% solution="step"
def reverse_step(x_t, eps, t, noise, alpha_bar):
    found = torch.zeros_like(x_t)
    bar, before = alpha_bar[t].item(), alpha_bar[t - 1].item()
    for i in range(len(x_t)):
        guess = (x_t[i] - (1 - bar) ** 0.5 * eps[i]) / bar**0.5
        if t == 1:
            found[i] = guess
            continue
        precision = bar / before / (1 - bar / before) + 1 / (1 - before)
        pull = (bar / before) ** 0.5 / (1 - bar / before) * x_t[i] + before**0.5 / (1 - before) * guess
        found[i] = pull / precision + precision**-0.5 * noise[i]
    return found


# %% solution="sample"
def sample(network, n, alpha_bar, generator):
    @torch.inference_mode()
    def walk(x, t):
        if t == 0:
            return x.clip(-1, 1)
        eps = network(x, t * torch.ones(n, dtype=torch.int64))
        return walk(reverse_step(x, eps, t, torch.empty_like(x).normal_(generator=generator), alpha_bar), t - 1)

    return walk(torch.randn(n, 1, 28, 28, generator=generator), len(alpha_bar) - 1)
