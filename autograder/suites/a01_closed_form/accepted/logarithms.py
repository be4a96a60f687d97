# SNR through exponentials, tensors through other ways to broadcast.

# %% solution="snr"
def snr(alpha_bar):
    return 1 / (1 / alpha_bar - 1)


def log_snr(alpha_bar):
    return -sp.log(1 / alpha_bar - 1)


def alpha_bar_of(value):
    return sp.exp(value) / (1 + sp.exp(value))


# %% solution="q_sample"
def q_sample(x0, t, alpha_bar, noise):
    import math

    images = []
    for image, time, eps in zip(x0, t.tolist(), noise):
        a = float(alpha_bar[time])
        images.append(math.sqrt(a) * image + math.sqrt(1 - a) * eps)
    return torch.stack(images)
