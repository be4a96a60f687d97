# SNR through exponentials, each function through the other, tensors one image at a time.

# %% solution="snr"
def log_snr(alpha_bar, extra):
    return -sp.log((1 + extra) / alpha_bar - 1)


def snr(alpha_bar, extra):
    return sp.exp(log_snr(alpha_bar, extra))


def alpha_bar_of(value, extra):
    r = sp.exp(value)
    return r * (1 + extra) / (1 + r)


# %% solution="q_sample"
def q_sample(x_s, s, t, alpha_bar, extra, noise):
    import math

    images = []
    for image, start, end, eps in zip(x_s, s.tolist(), t.tolist(), noise):
        ratio = float(alpha_bar[end]) / float(alpha_bar[start])
        variance = 1 - ratio + float(extra[end]) - ratio * float(extra[start])
        images.append(math.sqrt(ratio) * image + math.sqrt(variance) * eps)
    return torch.stack(images)
