# Tables and levels in single precision, as PyTorch makes them where no dtype is given.

# %% solution="linear"
def linear_schedule(T, beta_min=1e-4, beta_max=0.02):
    return torch.cat([torch.ones(1), (1 - torch.linspace(beta_min, beta_max, T)).cumprod(0)])


# %% solution="cosine"
def cosine_schedule(T, s=0.008, beta_max=0.999):
    f = torch.cos((torch.arange(T + 1) / T + s) / (1 + s) * math.pi / 2) ** 2
    return torch.cat([torch.ones(1), (1 - (1 - f[1:] / f[:-1]).clamp(max=beta_max)).cumprod(0)])


# %% solution="log_snr"
def log_snr(alpha_bar):
    a = alpha_bar[1:].float()
    return torch.log(a / (1 - a))
