# Labels one by one; the sampler with the step written out.

# %% solution="drop"
def drop_labels(labels, null, share, generator):
    unknown = sum(label == -1 for label in labels.tolist()) / len(labels)
    chance = (share - unknown) / (1 - unknown) if share > unknown else 0.0
    kept = labels.tolist()
    for i in range(len(kept)):
        if kept[i] == -1 or torch.rand((), generator=generator).item() < chance:
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


# %% solution="verdict"
def verdict():
    return {"best_accuracy": 8, "best_frechet": 3, "diversity_at_1": 0.83, "diversity_at_largest": 0.68}
