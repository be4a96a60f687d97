# A class for the chain, einsum for the batch in a function that torch is asked to compile, and walkers that all carry a list of their own, in float32.

# %% solution="two_steps"
class Line:
    """A sum of independent standard normal variables, and its variance."""

    def __init__(self, *factors):
        self.factors = factors

    def variance(self):
        return sum(factor**2 for factor in self.factors)

    def then(self, alpha, sigma):
        return Line(*(sp.sqrt(alpha) * factor for factor in self.factors), sp.sqrt(1 - alpha), sigma)


def two_steps(x0, alpha1, alpha2, sigma, eps1, xi1, eps2, xi2):
    noise = Line().then(alpha1, sigma).then(alpha2, sigma)
    terms = zip(noise.factors, (eps1, xi1, eps2, xi2))
    return {
        "x2": sp.sqrt(alpha1) * sp.sqrt(alpha2) * x0 + sum(factor * value for factor, value in terms),
        "noise_variance": noise.variance(),
        "simplified": (1 - alpha1 * alpha2) + sigma**2 + alpha2 * sigma**2,
        "swapped": Line().then(alpha2, sigma).then(alpha1, sigma).variance(),
    }


# %% solution="q_sample"
@torch.compile
def q_sample(x_s, s, t, alpha_bar, extra, noise):
    variance = 1 + extra - alpha_bar
    signal = torch.exp(0.5 * (alpha_bar.log()[t] - alpha_bar.log()[s]))
    deviation = torch.sqrt(variance[t] - signal**2 * variance[s])
    return torch.einsum("b,bchw->bchw", signal, x_s) + torch.einsum("b,bchw->bchw", deviation, noise)


# %% solution="walk"
def walk(x0, betas, sigma, n, seed):
    generator = torch.Generator().manual_seed(seed)
    steps = len(betas)
    noise = torch.randn(n, steps, 2, generator=generator)
    later = torch.flip(torch.cumprod(torch.flip(torch.cat([1 - betas[1:], torch.ones(1)]), [0]), 0), [0]).sqrt().float()
    ends = (
        (1 - betas).prod().sqrt() * x0
        + noise[:, :, 0] @ (later * betas.sqrt().float())
        + noise[:, :, 1] @ (sigma * later)
    )
    return ends.mean(), torch.var(ends, correction=1)
