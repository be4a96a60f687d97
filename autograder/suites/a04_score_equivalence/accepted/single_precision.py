# Single precision everywhere, in-place work on copies of one's own, and results as lists, pairs and tensors of one number.

# %% solution="convert"
def eps_to_score(eps, alpha_bar):
    score = eps.float().clone()
    for row, a in zip(score, alpha_bar):
        row.div_(-math.sqrt(1 - float(a)))
    return score


def score_to_eps(score, alpha_bar):
    eps = score.float().clone()
    for row, a in zip(eps, alpha_bar):
        row.mul_(-math.sqrt(1 - float(a)))
    return eps


# %% solution="noisy"
def noisy(means, variances, alpha_bar):
    means, variances = means.float().clone(), variances.float().clone()
    means *= alpha_bar**0.5
    variances *= alpha_bar
    variances += 1 - alpha_bar
    return [means, variances]


# %% solution="mixture"
def log_joint(x, weights, means, variances):
    joint = torch.zeros(len(x), len(weights))
    for k in range(len(weights)):
        joint[:, k] = torch.log(weights[k]) - means.shape[1] / 2 * torch.log(2 * torch.pi * variances[k])
        joint[:, k] -= torch.sum((x - means[k]) ** 2, dim=1) / (2 * variances[k])
    return joint


def log_density(x, weights, means, variances):
    joint = log_joint(x, weights, means, variances)
    return [float(torch.logsumexp(row, 0)) for row in joint]


def mixture_score(x, weights, means, variances):
    share = torch.softmax(log_joint(x, weights, means, variances), 1)
    score = torch.zeros(x.shape)
    for k in range(len(weights)):
        score += share[:, [k]] * (means[k] - x).float() / variances[k].float()
    return score


# %% solution="average"
def posterior(x, data, alpha_bar):
    x, data = x.float(), data.float()
    logits = torch.zeros(len(x), len(data))
    for n, point in enumerate(data):
        logits[:, n] = -((x - alpha_bar**0.5 * point) ** 2).sum(1) / (2 * (1 - alpha_bar))
    logits -= logits.max(1, keepdim=True).values
    logits.exp_()
    logits /= logits.sum(1, keepdim=True)
    return logits


def expected_score(x, data, alpha_bar):
    score = torch.zeros(x.shape)
    for n, share in enumerate(posterior(x, data, alpha_bar).T):
        score += share[:, None] * (alpha_bar**0.5 * data[n].float() - x.float()) / (1 - alpha_bar)
    return score


# %% solution="matching"
def matching_loss(score, x0, noise, alpha_bar):
    x_t = (alpha_bar**0.5 * x0 + (1 - alpha_bar) ** 0.5 * noise).float()
    total = torch.zeros(1)
    for point, eps in zip(x_t, noise.float()):
        total += ((score(point[None])[0] + eps / (1 - alpha_bar) ** 0.5) ** 2).sum()
    return total / len(x0)


# %% solution="fit"
def fit_score(features, x0, noise, alpha_bar):
    x_t = (alpha_bar**0.5 * x0 + (1 - alpha_bar) ** 0.5 * noise).float()
    phi, target = features(x_t).float(), (-noise / (1 - alpha_bar) ** 0.5).float()
    return torch.linalg.solve(phi.T @ phi, phi.T @ target)
