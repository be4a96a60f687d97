# The loss in single precision with a table looked up in other ways; the same own schedule from another formula.

# %% solution="mine"
def my_schedule(T):
    u = torch.arange(T + 1, dtype=torch.float64) / T
    alpha_bar = 1 / (1 + torch.exp(16 * u - 8))
    return torch.where(u == 0, torch.ones_like(u), alpha_bar)


# %% solution="loss"
def loss(network, x0, t, noise, alpha_bar):
    signal, level = alpha_bar.sqrt().float(), (1 - alpha_bar).sqrt().float()
    x_t = (
        torch.einsum("b,bd->bd", signal.gather(0, t).to(x0), x0) + level.index_select(0, t).to(x0).unsqueeze(1) * noise
    )
    return ((network(x_t, t) - noise) ** 2).sum() / x0.numel()
