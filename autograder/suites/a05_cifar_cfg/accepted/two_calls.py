# The network asked in two calls, conversions through each other, and dropping by a coin for each label.

# %% solution="drop"
def drop_labels(labels, null, share, generator):
    result = labels.clone()
    gaps = (labels < 0).float().mean().item()
    chance = torch.full((len(labels),), max(share - gaps, 0.0) / (1 - gaps))
    result[torch.bernoulli(chance, generator=generator).bool() | (labels < 0)] = null
    return result


# %% solution="formulas"
def by_weight(eps_class, eps_null, w):
    difference = eps_class - eps_null
    return eps_class + torch.as_tensor(w, dtype=difference.dtype).view(-1, 1, 1, 1) * difference


def by_scale(eps_class, eps_null, s):
    return by_weight(eps_class, eps_null, s - 1)


def scale_of(w, r=1.0):
    return w * r + r


def weight_of(s, r=1.0):
    return -1 + s / r


# %% solution="guided"
def guided(network, x_t, t, labels, s, null):
    avoided = null if torch.is_tensor(null) else torch.full(labels.shape, null)
    without = network(x_t, t, avoided)
    with_class = network(x_t, t, labels)
    return by_scale(with_class, without, s)
