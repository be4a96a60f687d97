# In place, on copies of its own; float64 on the way; the images asked about one by one.

# %% solution="drop"
def drop_labels(labels, null, share, generator):
    found, unknown = labels.clone(), labels.eq(-1)
    if (gaps := unknown.sum().item()) < share * len(labels):
        coins = torch.empty(len(labels)).uniform_(generator=generator)
        unknown |= coins.mul_(len(labels) - gaps).lt_(share * len(labels) - gaps).bool()
    return found.masked_fill_(unknown, null)


# %% solution="formulas"
def by_scale(eps_class, eps_null, s):
    found = eps_class.clone().sub_(eps_null)
    found *= s.reshape(len(s), 1, 1, 1) if isinstance(s, torch.Tensor) else s
    return found.add_(eps_null)


def by_weight(eps_class, eps_null, w):
    found = torch.empty_like(eps_class)
    for i in range(len(found)):
        weight = float(w[i]) if isinstance(w, torch.Tensor) else w
        found[i] = eps_class[i].mul(1 + weight).sub_(eps_null[i], alpha=weight)
    return found


def scale_of(w, r=1):
    return r * (1 + w)


def weight_of(s, r=1):
    return (s / r) - 1


# %% solution="guided"
def guided(network, x_t, t, labels, s, null):
    found = []
    for i in range(len(labels)):
        one = slice(i, i + 1)
        away = null[one] if torch.is_tensor(null) else torch.tensor([null])
        scale = s[one] if torch.is_tensor(s) else s
        found.append(by_scale(network(x_t[one], t[one], labels[one]), network(x_t[one], t[one], away), scale))
    return torch.cat(found)


# %% solution="step"
def step(x_t, eps, a_t, a_s):
    x0 = x_t.double()
    x0 = x0.sub(eps, alpha=(1 - a_t) ** 0.5).div_(a_t**0.5).clamp_(-1, 1)
    found = x_t.double().clone()
    found -= a_t**0.5 * x0
    found *= ((1 - a_s) / (1 - a_t)) ** 0.5
    found += a_s**0.5 * x0
    return found.to(x_t.dtype)


# %% solution="sampler"
def guided_sample(network, x, labels, s, null, alpha_bar, times):
    state = x.clone()
    for k in range(len(times) - 1):
        now, after = times[k], times[k + 1]
        eps = guided(network, state, now.expand(len(state)).clone(), labels, s, null)
        state.copy_(step(state, eps, alpha_bar[now].item(), alpha_bar[after].item()))
    return state


# %% solution="verdict"
def verdict():
    return {"best_accuracy": 7.96, "best_frechet": 2.9999, "diversity_at_1": 0.85, "diversity_at_largest": 0.69}
