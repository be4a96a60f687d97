# Guidance and step in terms of what is subtracted; the sampler as a while loop.

# %% solution="drop"
def drop_labels(labels, null, share, generator):
    known = (labels != -1).nonzero().flatten()
    wanted = share * len(labels) - (len(labels) - len(known))  # on average
    result = torch.full_like(labels, null)
    stays = torch.rand(len(known), generator=generator) * len(known) >= wanted
    result[known[stays]] = labels[known[stays]]
    return result


# %% solution="formulas"
def by_scale(eps_class, eps_null, s):
    s = s[:, None, None, None] if torch.is_tensor(s) else s
    return (1 - s) * eps_null + s * eps_class


def by_weight(eps_class, eps_null, w):
    return by_scale(eps_class, eps_null, scale_of(w))


def scale_of(w, r=1.0):
    return r + r * w


def weight_of(s, r=1.0):
    return (s - r) / r


# %% solution="sampler"
def guided_sample(network, x, labels, s, null, alpha_bar, times):
    remaining = [int(t) for t in times]
    while len(remaining) > 1:
        now = remaining.pop(0)
        t = torch.tensor([now] * x.shape[0])
        x = step(x, guided(network, x, t, labels, s, null), alpha_bar[now].item(), alpha_bar[remaining[0]].item())
    return x
