# The smaller variance in every step, with its zero in the last; noise through a normal distribution of torch's.

# %% solution="sample"
def sample(network, n, alpha_bar, generator):
    T, shape = len(alpha_bar) - 1, (n, 1, 28, 28)
    images = torch.zeros(shape).normal_(generator=generator)
    for t in torch.arange(T, 0, -1):
        a, b = alpha_bar[t], alpha_bar[t - 1]
        alpha = a / b
        with torch.no_grad():
            eps = network(images, t.repeat(n))
        variance = (1 - b) * (1 - alpha) / (1 - a)
        images = images / alpha.sqrt() - (1 - alpha) / (alpha * (1 - a)).sqrt() * eps
        images = images + variance.sqrt() * torch.zeros(shape).normal_(generator=generator)
    return images.clamp(-1, 1)
