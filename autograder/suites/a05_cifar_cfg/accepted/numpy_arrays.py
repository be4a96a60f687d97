# Everything in NumPy, but for what the generator has to draw and the network is asked.

# %% solution="drop"
import numpy as np


def drop_labels(labels, null, share, generator):
    numbers, known = torch.rand(len(labels), generator=generator).numpy(), labels.numpy() >= 0
    chance = np.clip((share - 1 + known.mean()) / known.mean(), 0, 1)
    return np.where(known & (numbers >= chance), labels.numpy(), null)


# %% solution="formulas"
def along_images(value):
    return np.asarray(value, dtype=np.float64).reshape(-1, 1, 1, 1)


def by_scale(eps_class, eps_null, s):
    y, n = np.asarray(eps_class), np.asarray(eps_null)
    return torch.from_numpy(n + along_images(s) * (y - n)).to(eps_null)


def by_weight(eps_class, eps_null, w):
    y, n, w = np.asarray(eps_class), np.asarray(eps_null), along_images(w)
    return y + w * y - w * n


def scale_of(w, r=1.0):
    return np.float64(r) * np.float64(1 + w)


def weight_of(s, r=1.0):
    return np.array([s / r - 1])


# %% solution="step"
def step(x_t, eps, a_t, a_s):
    x, e = np.asarray(x_t), np.asarray(eps)
    x0 = np.clip((x - np.sqrt(1 - a_t) * e) / np.sqrt(a_t), -1, 1)
    left = (x - np.sqrt(a_t) * x0) / np.sqrt(1 - a_t)
    return torch.from_numpy(np.sqrt(a_s) * x0 + np.sqrt(1 - a_s) * left).to(x_t)


# %% solution="verdict"
def verdict():
    return {
        "best_accuracy": np.float32(8.0),
        "best_frechet": np.int64(3),
        "diversity_at_1": np.array(0.834),
        "diversity_at_largest": np.array([0.683]),
    }
