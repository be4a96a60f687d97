# One class for the noise level, one for a mixture, and a data set as a mixture of points.

# %% solution="derivation"
class Conditional:
    def __init__(self, x0, alpha_bar):
        self.mean, self.deviation = sp.sqrt(alpha_bar) * x0, sp.sqrt(1 - alpha_bar)

    def eps(self, x):
        return (x - self.mean) / self.deviation

    def log_density(self, x):
        return -(self.eps(x) ** 2) / 2 - sp.log(self.deviation) - sp.log(2 * sp.pi) / 2


def derivation(x, x0, alpha_bar):
    q = Conditional(x0, alpha_bar)
    return {"ratio": -q.deviation, "eps": q.eps(x), "score": -q.eps(x) / q.deviation, "log_q": q.log_density(x)}


# %% solution="mixture"
class Gaussians:
    def __init__(self, weights, means, variances):
        self.weights, self.means, self.variances = weights, means, variances

    def logits(self, x):
        normal = torch.distributions.Normal(self.means, self.variances.sqrt()[:, None])
        return self.weights.log() + normal.log_prob(x[:, None]).sum(-1)

    def density(self, x):
        each = torch.distributions.Independent(
            torch.distributions.Normal(self.means, self.variances.sqrt()[:, None].expand(self.means.shape)), 1
        )
        return torch.distributions.MixtureSameFamily(torch.distributions.Categorical(self.weights), each)

    def score(self, x):
        share = self.logits(x).log_softmax(1).exp() / self.variances
        return share @ self.means - share.sum(1)[:, None] * x


def log_joint(x, *model):
    return Gaussians(*model).logits(x)


def log_density(x, *model):
    return Gaussians(*model).density(x).log_prob(x)


def mixture_score(x, *model):
    return Gaussians(*model).score(x)


# %% solution="average"
def as_mixture(data, alpha_bar):
    same = torch.ones(len(data), dtype=data.dtype)
    return same / len(data), *noisy(data, 0 * same, alpha_bar)


def posterior(x, data, alpha_bar):
    return torch.softmax(log_joint(x, *as_mixture(data, alpha_bar)), 1)


def expected_score(x, data, alpha_bar):
    return mixture_score(x, *as_mixture(data, alpha_bar))
