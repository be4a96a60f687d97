# The network asked in two calls, conversions through each other, and dropping by a permutation of thresholds.

# %% solution="drop"
def drop_labels(labels, null, share, generator):
    result = labels.clone()
    result[torch.bernoulli(torch.full((len(labels),), float(share)), generator=generator).bool()] = null
    return result


# %% solution="formulas"
def by_weight(eps_class, eps_null, w):
    return eps_class + w * (eps_class - eps_null)


def by_scale(eps_class, eps_null, s):
    return by_weight(eps_class, eps_null, s - 1)


def scale_of(w):
    return w + 1


def weight_of(s):
    return -1 + s


# %% solution="guided"
def guided(network, x_t, t, labels, s, null):
    without = network(x_t, t, torch.full(labels.shape, null))
    with_class = network(x_t, t, labels)
    return without.lerp(with_class, s)
