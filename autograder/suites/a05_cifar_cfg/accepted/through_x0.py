# Guidance and step in terms of what is subtracted; the sampler as a while loop.

# %% solution="formulas"
def by_scale(eps_class, eps_null, s):
    return (1 - s) * eps_null + s * eps_class


def by_weight(eps_class, eps_null, w):
    return by_scale(eps_class, eps_null, scale_of(w))


def scale_of(w):
    return w + 1.0


def weight_of(s):
    return s - 1.0


# %% solution="sampler"
def guided_sample(network, x, labels, s, null, alpha_bar, times):
    remaining = [int(t) for t in times]
    while len(remaining) > 1:
        now = remaining.pop(0)
        t = torch.tensor([now] * x.shape[0])
        x = step(x, guided(network, x, t, labels, s, null), alpha_bar[now].item(), alpha_bar[remaining[0]].item())
    return x
