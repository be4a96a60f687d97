# Functions that torch is asked to compile, one of them made by another, and keyword arguments.

# %% solution="formulas"
def between(start, end):
    @torch.no_grad()
    def go(how_far, *answers):
        how_far = torch.as_tensor(how_far).reshape([-1] + [1] * (answers[0].ndim - 1))
        return answers[start] + how_far * (answers[end] - answers[start])

    return go


@torch.compile
def by_scale(eps_class, eps_null, s):
    return between(1, 0)(s, eps_class, eps_null)


@torch.compile
def by_weight(eps_class, eps_null, w):
    return between(1, 0)(1 + w, eps_class, eps_null)


def scale_of(w, *rest):
    return sum([1, w]) * [*rest, 1][0]


def weight_of(s, *rest):
    return s / [*rest, 1][0] - 1


# %% solution="step"
@torch.compile
def step(x_t, eps, a_t, a_s):
    x0 = torch.maximum(torch.minimum((x_t - (1 - a_t) ** 0.5 * eps) / a_t**0.5, torch.ones(())), -torch.ones(()))
    return torch.add(a_s**0.5 * x0, (x_t - a_t**0.5 * x0) / (1 - a_t) ** 0.5, alpha=(1 - a_s) ** 0.5)


# %% solution="sampler"
@torch.inference_mode()
def guided_sample(network, x, labels, s, null, alpha_bar, times):
    signals = alpha_bar[times]
    for k, t in enumerate(times[:-1]):
        eps = guided(network=network, x_t=x, t=t * torch.ones_like(labels), labels=labels, s=s, null=null)
        x = step(x_t=x, eps=eps, a_t=signals[k].item(), a_s=signals[k + 1].item())
    return x
