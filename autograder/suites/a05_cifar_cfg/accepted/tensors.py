# Square roots by torch, and the images of the batch interleaved; the verdict as tensors.

# %% solution="formulas"
def as_images(value, like):
    return torch.as_tensor(value, dtype=like.dtype).expand(len(like))[:, None, None, None]


def by_scale(eps_class, eps_null, s):
    return torch.lerp(eps_null, eps_class, as_images(s, eps_null))


def by_weight(eps_class, eps_null, w):
    return torch.lerp(eps_class, eps_null, -as_images(w, eps_null))


def scale_of(w, r=1.0):
    return torch.tensor([r]) + torch.tensor([r]) * w


def weight_of(s, r=1.0):
    return torch.tensor((s - r) / r)


# %% solution="guided"
def guided(network, x_t, t, labels, s, null):
    pairs = torch.stack([labels, torch.as_tensor(null).expand_as(labels)], 1).flatten()
    both = network(x_t.repeat_interleave(2, 0), t.repeat_interleave(2), pairs)
    with_class, without = both[0::2], both[1::2]
    s = torch.as_tensor(s).reshape(-1, 1, 1, 1)
    return s * with_class + (1 - s) * without


# %% solution="step"
def step(x_t, eps, a_t, a_s):
    a_t, a_s = torch.tensor(a_t), torch.tensor(a_s)
    x0 = torch.clamp((x_t - torch.sqrt(1 - a_t) * eps) / torch.sqrt(a_t), min=-1.0, max=1.0)
    left = (x_t - torch.sqrt(a_t) * x0) / torch.sqrt(1 - a_t)
    return torch.sqrt(a_s) * x0 + torch.sqrt(1 - a_s) * left


# %% solution="verdict"
def verdict():
    return {
        "best_accuracy": torch.tensor(8.0),
        "best_frechet": torch.tensor([3]),
        "diversity_at_1": torch.tensor(0.834),
        "diversity_at_largest": torch.tensor(0.683),
    }
