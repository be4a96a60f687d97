# Labels one by one; the sampler with the step written out.

# %% solution="drop"
def drop_labels(labels, null, share, generator):
    kept = labels.tolist()
    for i in range(len(kept)):
        if torch.rand((), generator=generator).item() < share:
            kept[i] = null
    return torch.tensor(kept)


# %% solution="sampler"
def guided_sample(network, x, labels, s, null, alpha_bar, times):
    schedule = [float(alpha_bar[int(t)]) for t in times]
    for k in range(len(times) - 1):
        eps = guided(network, x, times[k].repeat(len(x)), labels, s, null)
        a, b = schedule[k], schedule[k + 1]
        x0 = torch.clip((x - (1 - a) ** 0.5 * eps) / a**0.5, -1, 1)
        x = b**0.5 * x0 + ((1 - b) / (1 - a)) ** 0.5 * (x - a**0.5 * x0)
    return x
