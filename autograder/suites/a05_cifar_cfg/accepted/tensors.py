# Square roots by torch, and the images of the batch interleaved.

# %% solution="guided"
def guided(network, x_t, t, labels, s, null):
    pairs = torch.stack([labels, torch.full_like(labels, null)], 1).flatten()
    both = network(x_t.repeat_interleave(2, 0), t.repeat_interleave(2), pairs)
    with_class, without = both[0::2], both[1::2]
    return s * with_class + (1 - s) * without


# %% solution="step"
def step(x_t, eps, a_t, a_s):
    a_t, a_s = torch.tensor(a_t), torch.tensor(a_s)
    x0 = torch.clamp((x_t - torch.sqrt(1 - a_t) * eps) / torch.sqrt(a_t), min=-1.0, max=1.0)
    left = (x_t - torch.sqrt(a_t) * x0) / torch.sqrt(1 - a_t)
    return torch.sqrt(a_s) * x0 + torch.sqrt(1 - a_s) * left
