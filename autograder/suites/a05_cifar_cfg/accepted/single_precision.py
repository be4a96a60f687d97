# Everything rounded to float32 on the way, as students compute by default.

# %% solution="formulas"
def by_scale(eps_class, eps_null, s):
    y, n, s = eps_class.float(), eps_null.float(), torch.as_tensor(s).float().reshape(-1, 1, 1, 1)
    return s * y + (1 - s) * n


def by_weight(eps_class, eps_null, w):
    y, n, w = eps_class.float(), eps_null.float(), torch.as_tensor(w).float().reshape(-1, 1, 1, 1)
    return (1 + w) * y - w * n


def scale_of(w, r=1.0):
    return torch.tensor(r) * (1 + torch.tensor(w))


def weight_of(s, r=1.0):
    return torch.tensor(s) / torch.tensor(r) - 1


# %% solution="step"
def step(x_t, eps, a_t, a_s):
    a_t, a_s, x_t = torch.tensor(a_t), torch.tensor(a_s), x_t.float()
    x0 = ((x_t - (1 - a_t).sqrt() * eps.float()) / a_t.sqrt()).clamp(-1, 1)
    return a_s.sqrt() * x0 + ((1 - a_s) / (1 - a_t)).sqrt() * (x_t - a_t.sqrt() * x0)


# %% solution="sampler"
@torch.no_grad()
def guided_sample(network, x, labels, s, null, alpha_bar, times):
    x, alpha_bar = x.float(), alpha_bar.float()
    for t, earlier in pairwise(times.tolist()):
        eps = guided(network, x, torch.full((len(x),), t), labels, s, null)
        x = step(x, eps, float(alpha_bar[t]), float(alpha_bar[earlier]))
    return x
