# Sums of logarithms instead of products, and the SNR through a logit.

# %% solution="linear"
def linear_schedule(T, beta_min=1e-4, beta_max=0.02):
    beta = beta_min + (beta_max - beta_min) * torch.arange(T, dtype=torch.float64) / (T - 1)
    log_alpha = torch.log1p(-beta)
    return torch.cat([torch.zeros(1, dtype=torch.float64), log_alpha.cumsum(0)]).exp()


# %% solution="log_snr"
def log_snr(alpha_bar):
    return torch.logit(alpha_bar[1:])


# %% solution="spaced"
def spaced(T, steps):
    return (torch.arange(steps, -1, -1) * T / steps).round().to(torch.int32)


# %% solution="verdict"
def verdict():
    return {
        "best_at_100": "cosine",
        "best_at_10": "cosine",
        "lowest_loss": "linear",
        "cosine_10_over_100": 1.5,
        "linear_over_cosine_at_10": 1.5,
        "remark": "read from a second run",
    }
