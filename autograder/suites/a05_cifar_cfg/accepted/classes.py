# A class that holds the sampler's state, and functions that only call it.

# %% solution="guided"
class Guide:
    def __init__(self, network, labels, s, null):
        self.network, self.s = network, s
        self.told = [labels, null if torch.is_tensor(null) else labels * 0 + null]

    def __call__(self, x, t):
        answers = [self.network(x, t, labels) for labels in self.told]
        return by_scale(*answers, self.s)


def guided(network, x_t, t, labels, s, null):
    return Guide(network, labels, s, null)(x_t, t)


# %% solution="step"
class Time:
    def __init__(self, alpha_bar):
        self.signal, self.noise = alpha_bar**0.5, (1 - alpha_bar) ** 0.5

    def image(self, x, eps):
        return ((x - self.noise * eps) / self.signal).clip(min=-1, max=1)

    def noise_in(self, x, image):
        return (x - self.signal * image) / self.noise

    def mixed(self, image, eps):
        return self.signal * image + self.noise * eps


def step(x_t, eps, a_t, a_s):
    now = Time(a_t)
    image = now.image(x_t, eps)
    return Time(a_s).mixed(image, now.noise_in(x_t, image))


# %% solution="sampler"
class Sampler:
    def __init__(self, guide, alpha_bar, times):
        self.guide, self.bar, self.times = guide, alpha_bar.tolist(), times.tolist()

    def draw(self, x):
        for k in range(1, len(self.times)):
            before, after = self.times[k - 1 : k + 1]
            eps = self.guide(x, torch.tensor(before).expand(x.shape[0]))
            x = step(x, eps, self.bar[before], self.bar[after])
        return x


def guided_sample(network, x, labels, s, null, alpha_bar, times):
    with torch.no_grad():
        return Sampler(Guide(network, labels, s, null), alpha_bar, times).draw(x)


# %% solution="verdict"
def verdict():
    return {"BEST_ACCURACY": (8.0,), "best_frechet": [3.02], "Diversity_at_1": "0.83", "diversity_at_largest": 0.7}
