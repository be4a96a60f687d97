# Everything in classes, the table in logarithms, the mean from the score.

# %% solution="schedule"
class Schedule:
    def __init__(self, T, low, high):
        self.log_alpha = torch.log1p(-(low + (high - low) * torch.arange(T, dtype=torch.float64) / (T - 1)))

    def table(self):
        return torch.cat([torch.zeros(1, dtype=torch.float64), self.log_alpha.cumsum(0)]).exp().float()


def linear_schedule(T, beta_min=0.0004, beta_max=0.08):
    return Schedule(T, beta_min, beta_max).table()


# %% solution="step"
class Step:
    def __init__(self, alpha_bar, t):
        self.bar, self.before = alpha_bar[t].double(), alpha_bar[t - 1].double()
        self.alpha = self.bar / self.before

    def mean(self, x, score):
        return (x + (1 - self.alpha) * score) / self.alpha.sqrt()


def reverse_step(x_t, eps, t, noise, alpha_bar):
    step = Step(alpha_bar, t)
    mean = step.mean(x_t.double(), -eps.double() / (1 - step.bar).sqrt())
    return mean if t == 1 else mean + (1 - step.alpha).sqrt() * noise


# %% solution="sample"
class Sampler:
    def __init__(self, network, alpha_bar, generator):
        self.network, self.bar, self.generator = network, alpha_bar.double(), generator

    def step(self, x, t):
        alpha = self.bar[t] / self.bar[t - 1]
        score = -self.network(x.float(), torch.full((len(x),), t)).double() / (1 - self.bar[t]).sqrt()
        mean = (x + (1 - alpha) * score) / alpha.sqrt()
        if t == 1:
            return mean
        return mean + (1 - alpha).sqrt() * torch.randn(x.shape, generator=self.generator, dtype=torch.float64)


@torch.inference_mode()
def sample(network, n, alpha_bar, generator):
    sampler = Sampler(network, alpha_bar, generator)
    x = torch.randn(n, 1, 28, 28, generator=generator, dtype=torch.float64)
    for t in range(len(alpha_bar) - 1, 0, -1):
        x = sampler.step(x, t)
    return x.clamp(-1, 1).float()
