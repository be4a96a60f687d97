# ---
# jupyter:
#   course:
#     title: The closed form of the forward process
#     minutes: 100
#     withheld:
#     - diffusion
#     - sampling
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Assignment 1: the closed form of the forward process
#
# *A thousand small steps of noise, or one large one?*
#
# A diffusion model is trained on noisy images from all stages of the forward process. If we had to walk there step by step, each
# training image would cost up to a thousand steps. The closed form jumps to any stage at once. Without it, nobody would train these models.
#
# Chapter 1 derives it for a chain that shrinks the image by just as much as the noise needs. Here the chain has a leak. After each step a
# **sensor** reads the image and adds noise of its own, and nothing is shrunk to make room for it. For this chain you derive what the chapter derives: the
# closed form, the jump between two times, and the posterior that sampling rests on. Finally, you check your algebra against simulated noise.
#
# **Time:** about 100 minutes. **Points:** 100, of which 10 are for a proof that a person reads. **You need:** chapter 1 of the book (up to its section
# on the posterior), SymPy's `sqrt`, `exp` and `log`, and how PyTorch indexes and broadcasts tensors.
#
# How it works:
#
# - Each task asks for a small function. Replace the line that raises `NotImplementedError`.
# - The cell below it runs a public check. It says what is wrong. Hidden tests with fresh numbers decide the points.
# - In tasks 1 to 6 use `sp.sqrt`, `sp.exp` and `sp.log`. Then your functions take symbols too, and you can look at your formula: `sp.simplify(snr(*sp.symbols("a c")))`.
#
# **Conventions.** A step first does what the chain of chapter 1 does, with $\alpha_t = 1 - \beta_t$, and then the sensor reads:
#
# $$x_t = \underbrace{\text{one step of chapter 1, from } x_{t-1}}_{\text{with } \alpha_t \text{ and its noise } \epsilon_t} +\ \sigma_t\,\xi_t .$$
#
# All $\epsilon$ and $\xi$ are independent standard normal variables. So $1 - \alpha_t$ is a *variance*, and $\sigma_t$ is a *standard deviation*. As in the book,
# $\bar\alpha_t = \alpha_1 \alpha_2 \cdots \alpha_t$ with $\bar\alpha_0 = 1$.
#
# **Two ways to check yourself.** With $\sigma = 0$ the sensor is silent, and each line must become a line of chapter 1. With $\alpha = 1$ nothing is shrunk, and the
# variances $\sigma_t^2$ just add up: the variance-exploding process of chapter 4.

# %%
import sympy as sp
import torch

import checks

# %% [markdown]
# ## Task 1: one step (●○○, 5 minutes)
#
# The chain of chapter 1 adds noise by $q(x_t \mid x_{t-1}) = \mathcal N(\sqrt{\alpha_t}\, x_{t-1},\ (1 - \alpha_t))$. Then the sensor reads. Write $x_t$ as a function of $x_{t-1}$, $\alpha_t$, $\sigma_t$ and
# two standard normal variables, the chain's $\epsilon$ and the sensor's $\xi$.


# %% solution="one_step"
def one_step(x_prev, alpha, sigma, eps, xi):
    """x_t, from x_{t-1}, alpha_t, sigma_t, and standard normal noise: eps of the chain, xi of the sensor."""
    ### BEGIN SOLUTION
    return sp.sqrt(alpha) * x_prev + sp.sqrt(1 - alpha) * eps + sigma * xi
    ### END SOLUTION


# %% check="one_step"
checks.one_step(one_step)

# %% grade="one_step" points=8
# Hidden tests of one_step run here when your notebook is graded.

# %% [markdown]
# ## Task 2: two steps merged (●●○, 15 minutes)
#
# Now take two steps, with $\alpha_1, \epsilon_1, \xi_1$ and then with $\alpha_2, \epsilon_2, \xi_2$, and the same $\sigma$ in both. Give four lines of the derivation:
#
# 1. `x2`: $x_2$ as an expression in $x_0$ and the four noises: substitute one step into the other.
# 2. `noise_variance`: the four noise terms are independent, so their sum is Gaussian too. What is its variance, as the sum of the four variances?
# 3. `simplified`: the same variance, as short as you can write it.
# 4. `swapped`: the same variance again, if the step with $\alpha_2$ comes first and the one with $\alpha_1$ second. (Without the sensor, the order makes no difference. And here?)


# %% solution="two_steps"
def two_steps(x0, alpha1, alpha2, sigma, eps1, xi1, eps2, xi2):
    """The lines of the derivation, as a dict with the keys x2, noise_variance, simplified and swapped."""
    ### BEGIN SOLUTION
    x1 = one_step(x0, alpha1, sigma, eps1, xi1)
    return {
        "x2": one_step(x1, alpha2, sigma, eps2, xi2),
        "noise_variance": alpha2 * (1 - alpha1 + sigma**2) + (1 - alpha2) + sigma**2,
        "simplified": 1 - alpha1 * alpha2 + (1 + alpha2) * sigma**2,
        "swapped": 1 - alpha1 * alpha2 + (1 + alpha1) * sigma**2,
    }
    ### END SOLUTION


# %% check="two_steps"
checks.two_steps(two_steps)

# %% grade="two_steps" points=18
# Hidden tests of two_steps run here when your notebook is graded.

# %% [markdown]
# ## Task 3: the induction step (●●○, 15 minutes)
#
# What is the closed form after $t$ steps? The sensor does not touch the factor of $x_0$, which stays $\sqrt{\bar\alpha_t}$. But there is more noise than the $1 - \bar\alpha_t$ of chapter 1. Call the surplus
# the *extra* variance $c_t$, with $c_0 = 0$. Suppose that for $t - 1$
#
# $$x_{t-1} = \sqrt{\bar\alpha_{t-1}}\, x_0 + \sqrt{1 - \bar\alpha_{t-1} + c_{t-1}}\ \bar\epsilon .$$
#
# Take one more step with $\alpha_t$ and $\sigma_t$. Give three lines:
#
# 1. `noise_variance`: the variance of all the noise in $x_t$, as a sum of three terms.
# 2. `extra`: $c_t$, such that `noise_variance` is $1 - \bar\alpha_t + c_t$.
# 3. `total`: the variance of $x_t$ if $x_0$ is random as well, independent of all noise, with variance 1. (The chain of chapter 1 preserves it.)


# %% solution="induction"
def induction(alpha_bar_prev, extra_prev, alpha, sigma):
    """The lines noise_variance, extra and total, as a dict, from alpha_bar_{t-1}, c_{t-1}, alpha_t and sigma_t."""
    ### BEGIN SOLUTION
    return {
        "noise_variance": alpha * (1 - alpha_bar_prev + extra_prev) + (1 - alpha) + sigma**2,
        "extra": alpha * extra_prev + sigma**2,
        "total": 1 + alpha * extra_prev + sigma**2,
    }
    ### END SOLUTION


# %% check="induction"
checks.induction(induction)

# %% grade="induction" points=14
# Hidden tests of induction run here when your notebook is graded.

# %% [markdown]
# ## Task 4: what is left in the end (●●○, 10 minutes)
#
# With the same $\beta$ and the same $\sigma$ at every step, what are the mean and the variance of $x_t$ given $x_0$ after $t$ steps? And where do they go as $t \to \infty$, for $0 < \beta < 1$?


# %% solution="limit"
def limit(x0, beta, sigma, t):
    """The mean and the variance of x_t given x_0 after t equal steps, and their limits limit_mean and limit_variance, as a dict."""
    ### BEGIN SOLUTION
    alpha_bar = (1 - beta) ** t
    return {
        "mean": sp.sqrt(alpha_bar) * x0,
        "variance": (1 - alpha_bar) * (1 + sigma**2 / beta),
        "limit_mean": 0,
        "limit_variance": 1 + sigma**2 / beta,
    }
    ### END SOLUTION


# %% check="limit"
checks.limit(limit)

# %% grade="limit" points=8
# Hidden tests of limit run here when your notebook is graded.

# %% [markdown]
# ## Task 5: the posterior (●●●, 20 minutes)
#
# To walk back we need $q(x_{t-1} \mid x_t, x_0)$. By Bayes' rule it is proportional to $q(x_t \mid x_{t-1})\, q(x_{t-1} \mid x_0)$, a product of two Gaussians in $x_{t-1}$: so it is Gaussian, its precision (one over the variance) is the sum of
# two terms, and its mean is a weighted sum of $x_t$ and $x_0$. Both factors are those of the chain *with* the sensor: the first you know from task 1, the second from task 3. Give four lines:
#
# 1. `precision`: the coefficient of $x_{t-1}^2$ in minus twice the exponent, collected from both factors.
# 2. `variance`: one over the precision, as one fraction without fractions in its numerator or denominator.
# 3. `mean_xt`: the factor of $x_t$ in the mean.
# 4. `mean_x0`: the factor of $x_0$ in the mean.


# %% solution="posterior"
def posterior(alpha, sigma, alpha_bar_prev, extra_prev):
    """The lines precision, variance, mean_xt and mean_x0, as a dict, from alpha_t, sigma_t, alpha_bar_{t-1} and c_{t-1}."""
    ### BEGIN SOLUTION
    step, before = 1 - alpha + sigma**2, 1 - alpha_bar_prev + extra_prev
    after = alpha * before + step
    return {
        "precision": alpha / step + 1 / before,
        "variance": step * before / after,
        "mean_xt": sp.sqrt(alpha) * before / after,
        "mean_x0": sp.sqrt(alpha_bar_prev) * step / after,
    }
    ### END SOLUTION


# %% check="posterior"
checks.posterior(posterior)

# %% grade="posterior" points=18
# Hidden tests of posterior run here when your notebook is graded.

# %% [markdown]
# ## Task 6: signal against noise (●○○, 5 minutes)
#
# The signal-to-noise ratio of $x_t$ is the squared factor of $x_0$ over the variance of all noise. Write it as a function of $\bar\alpha_t$ and the extra variance $c_t$, then its natural logarithm, and the way back: $\bar\alpha_t$ from the
# log-SNR and $c_t$.


# %% solution="snr"
def snr(alpha_bar, extra):
    """The signal-to-noise ratio."""
    ### BEGIN SOLUTION
    return alpha_bar / (1 - alpha_bar + extra)
    ### END SOLUTION


def log_snr(alpha_bar, extra):
    """Its natural logarithm."""
    ### BEGIN SOLUTION
    return sp.log(alpha_bar) - sp.log(1 - alpha_bar + extra)
    ### END SOLUTION


def alpha_bar_of(value, extra):
    """alpha_bar, from the log-SNR and the extra variance."""
    ### BEGIN SOLUTION
    return (1 + extra) / (1 + sp.exp(-value))
    ### END SOLUTION


# %% check="snr"
checks.snr(snr, log_snr, alpha_bar_of)

# %% grade="snr" points=6
# Hidden tests of snr, log_snr and alpha_bar_of run here when your notebook is graded.

# %% [markdown]
# ## Task 7: jump there with tensors (●●○, 10 minutes)
#
# Now in numbers, and from any time to any later one. `x_s` has shape `(B, C, H, W)`. Each of its images is at its own time, in `s` `(B,)`, and jumps to its own later time, in `t` `(B,)`. The tables `alpha_bar` and `extra` have
# shape `(T + 1,)`, with `alpha_bar[0] == 1` and `extra[0] == 0`. The noise, of the shape of `x_s`, comes in as an argument: one standard normal number per pixel.
#
# By which factor must $x_s$ be multiplied so that the factor of $x_0$ in $x_t$ is right? And how much variance must the new noise have so that the variance of all the noise in $x_t$ is right? Do not change the tensors that your function is given.


# %% solution="q_sample"
def q_sample(x_s, s, t, alpha_bar, extra, noise):
    """x_t of shape (B, C, H, W), from x_s in one jump."""
    ### BEGIN SOLUTION
    kept = (alpha_bar[t] / alpha_bar[s]).reshape(-1, 1, 1, 1)
    before, after = (1 - alpha_bar[u] + extra[u] for u in (s, t))
    added = after.reshape(-1, 1, 1, 1) - kept * before.reshape(-1, 1, 1, 1)
    return kept.sqrt() * x_s + added.sqrt() * noise
    ### END SOLUTION


# %% check="q_sample"
checks.q_sample(q_sample)

# %% grade="q_sample" points=10
# Hidden tests of q_sample run here when your notebook is graded.

# %% [markdown]
# ## Task 8: ask the dice (●●○, 10 minutes)
#
# Do not believe algebra that you can test. Start `n` walkers at the number `x0`, and let each take the steps of `betas` `(T,)` one at a time. At each step the sensor has the same `sigma`, and all noise comes fresh from a `torch.Generator` that starts at `seed`.
# Return the mean and the unbiased variance (the sum of squares over `n - 1`) of where they arrive, as two numbers.


# %% solution="walk"
def walk(x0, betas, sigma, n, seed):
    """Mean and variance of x_T over n simulated walkers."""
    ### BEGIN SOLUTION
    generator = torch.Generator().manual_seed(seed)
    x = torch.full((n,), float(x0), dtype=torch.float64)
    for beta in betas.tolist():
        eps = torch.randn(n, generator=generator, dtype=torch.float64)
        xi = torch.randn(n, generator=generator, dtype=torch.float64)
        x = (1 - beta) ** 0.5 * x + beta**0.5 * eps + sigma * xi
    return x.mean().item(), x.var().item()
    ### END SOLUTION


# %% check="walk"
checks.walk(walk)

# %% grade="walk" points=8
# Hidden tests of walk run here when your notebook is graded.

# %% [markdown]
# ## Task 9: why may we add the variances? (●●○, 10 minutes, read by a person)
#
# In task 2 you replaced four noise terms by one. Prove in a few sentences that $a\,\epsilon + b\,\xi$ has the same distribution as $\sqrt{a^2 + b^2}\,\epsilon$, and say where you use that $\epsilon$ and $\xi$ are independent. Then
# say what would be wrong with `one_step` if the sensor had no noise of its own and added the chain's once more, $\xi = \epsilon$.
#
# *You get 5 points for a complete proof, 2 for naming independence at the right place, and 3 for what goes wrong with the same noise, with the variance that it gives.*

# %% [markdown] manual="proof" points=10
# ### BEGIN SOLUTION
# The vector $(\epsilon, \xi)$ is standard normal because its parts are independent standard normal variables. A linear map of a Gaussian vector is Gaussian, so $z = a\epsilon + b\xi$ is Gaussian, with mean $0$. Its variance is
# $a^2 \operatorname{Var}\epsilon + b^2 \operatorname{Var}\xi + 2ab \operatorname{Cov}(\epsilon, \xi) = a^2 + b^2$: independence makes the covariance vanish. A Gaussian is determined by mean and variance, so $z$ is distributed like $\sqrt{a^2 + b^2}\,\epsilon$.
# With $\xi = \epsilon$ the covariance is 1, and the noise in $x_t$ has the variance $(\sqrt{1 - \alpha} + \sigma)^2 = 1 - \alpha + \sigma^2 + 2\sigma\sqrt{1 - \alpha}$: more than `one_step` says, by twice the product of the two standard deviations.
#
# **How to give the points.** 5 for the proof: 3 for the sum being *Gaussian*, with a reason (a linear map of a Gaussian vector, characteristic functions, or the convolution), 2 for its mean and variance. 2 for independence, where the covariance vanishes
# (or the characteristic functions multiply) or where the pair is jointly Gaussian. 3 for the same noise: 2 for the variance $(a + b)^2$, 1 for saying that it is too large.
#
# *An answer with 10 points.* "The characteristic function of $a\epsilon + b\xi$ is $E e^{iu(a\epsilon + b\xi)} = e^{-a^2u^2/2} e^{-b^2u^2/2}$; it splits into a product since $\epsilon$ and $\xi$ are independent. This is that of $N(0, a^2 + b^2)$. If $\xi = \epsilon$ we get
# $(a + b)\epsilon$ with variance $(a + b)^2 > a^2 + b^2$, so there is too much noise."
#
# *An answer with 6 points.* "The mean is 0 and the variance is $a^2 + b^2$, because variances of independent variables add. So it is $N(0, a^2 + b^2)$. With the same noise the variance is $(a + b)^2$." (2 of 5: why is the sum Gaussian? 2 for independence, 2 of 3: more or less than before?)
#
# *An answer with 2 points.* "Variances add, so $a^2 + b^2$. With the same noise the terms are not independent, so we may not add them and the formula is wrong." (1 for the variance, with no reason and no Gaussian; independence is named only where it fails, and no variance is given: 1.)
# ### END SOLUTION
