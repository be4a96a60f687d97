# ---
# jupyter:
#   course:
#     title: The closed form of the forward process
#     minutes: 90
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
# In this assignment you derive it, line by line, then the posterior that sampling rests on, and at last you check your algebra against simulated noise.
#
# **Time:** about 90 minutes. **Points:** 100, of which 10 are for a proof that a person reads. **You need:** chapter 1 of the book.
#
# How it works:
#
# - Each task asks for a small function. Replace the line that raises `NotImplementedError`.
# - The cell below it runs a public check. It says what is wrong. Hidden tests with fresh numbers decide the points.
# - Your formulas must work for SymPy symbols and for plain numbers alike, so take `sp.sqrt`, `sp.exp` and `sp.log`.
#
# **Conventions.** $\alpha_t = 1 - \beta_t$, and $\bar\alpha_t = \alpha_1 \alpha_2 \cdots \alpha_t$ with $\bar\alpha_0 = 1$. All $\epsilon$ are independent standard normal variables.

# %%
import sympy as sp
import torch

import checks

# %% [markdown]
# ## Task 1: one step (●○○, 5 minutes)
#
# The forward process adds noise by $q(x_t \mid x_{t-1}) = \mathcal N(\sqrt{\alpha_t}\, x_{t-1},\ (1 - \alpha_t))$. Write $x_t$ as a function of $x_{t-1}$, $\alpha_t$ and one standard normal variable $\epsilon$.


# %% solution="one_step"
def one_step(x_prev, alpha, eps):
    """x_t, from x_{t-1}, alpha_t and standard normal noise eps."""
    ### BEGIN SOLUTION
    return sp.sqrt(alpha) * x_prev + sp.sqrt(1 - alpha) * eps
    ### END SOLUTION


# %% check="one_step"
checks.one_step(one_step)

# %% grade="one_step" points=8
# Hidden tests of one_step run here when your notebook is graded.

# %% [markdown]
# ## Task 2: two steps merged (●●○, 15 minutes)
#
# Now take two steps, with $\alpha_1$ and noise $\epsilon_1$, then with $\alpha_2$ and noise $\epsilon_2$. Give four lines of the derivation:
#
# 1. `x2`: $x_2$ as an expression of $x_0$, $\epsilon_1$ and $\epsilon_2$: substitute one step into the other.
# 2. `signal`: the factor in front of $x_0$.
# 3. `noise_variance`: the two noise terms are independent, so their sum is Gaussian too. What is its variance, as the sum of the two variances?
# 4. `simplified`: the same variance, as short as you can write it.


# %% solution="two_steps"
def two_steps(x0, alpha1, alpha2, eps1, eps2):
    """The lines of the derivation, as a dict."""
    ### BEGIN SOLUTION
    x1 = one_step(x0, alpha1, eps1)
    return {
        "x2": one_step(x1, alpha2, eps2),
        "signal": sp.sqrt(alpha1 * alpha2),
        "noise_variance": alpha2 * (1 - alpha1) + (1 - alpha2),
        "simplified": 1 - alpha1 * alpha2,
    }
    ### END SOLUTION


# %% check="two_steps"
checks.two_steps(two_steps)

# %% grade="two_steps" points=18
# Hidden tests of two_steps run here when your notebook is graded.

# %% [markdown]
# ## Task 3: the induction step (●●○, 15 minutes)
#
# Suppose that the closed form holds for $t - 1$: $x_{t-1} = \sqrt{\bar\alpha_{t-1}}\, x_0 + \sqrt{1 - \bar\alpha_{t-1}}\, \bar\epsilon$. Take one more step with $\alpha_t$. Give three lines:
#
# 1. `signal`: the factor in front of $x_0$ in $x_t$.
# 2. `noise_variance`: the variance of all noise in $x_t$, as a sum of two terms.
# 3. `alpha_bar`: $\bar\alpha_t$, so that `signal` is its square root and `noise_variance` is 1 minus it.


# %% solution="induction"
def induction(alpha_bar_prev, alpha):
    """The lines of the induction step, as a dict, from alpha_bar_{t-1} and alpha_t."""
    ### BEGIN SOLUTION
    return {
        "signal": sp.sqrt(alpha) * sp.sqrt(alpha_bar_prev),
        "noise_variance": alpha * (1 - alpha_bar_prev) + (1 - alpha),
        "alpha_bar": alpha * alpha_bar_prev,
    }
    ### END SOLUTION


# %% check="induction"
checks.induction(induction)

# %% grade="induction" points=14
# Hidden tests of induction run here when your notebook is graded.

# %% [markdown]
# ## Task 4: what is left in the end (●○○, 5 minutes)
#
# With the same $\beta$ at every step, what are the mean and the variance of $x_t$ given $x_0$ after $t$ steps? And where do they go as $t \to \infty$, for $0 < \beta < 1$?


# %% solution="limit"
def limit(x0, beta, t):
    """Mean and variance of x_t given x_0 after t equal steps, and their limits, as a dict."""
    ### BEGIN SOLUTION
    alpha_bar = (1 - beta) ** t
    return {"mean": sp.sqrt(alpha_bar) * x0, "variance": 1 - alpha_bar, "limit_mean": 0, "limit_variance": 1}
    ### END SOLUTION


# %% check="limit"
checks.limit(limit)

# %% grade="limit" points=8
# Hidden tests of limit run here when your notebook is graded.

# %% [markdown]
# ## Task 5: the posterior (●●●, 25 minutes)
#
# To walk back we need $q(x_{t-1} \mid x_t, x_0)$. By Bayes' rule it is proportional to $q(x_t \mid x_{t-1})\, q(x_{t-1} \mid x_0)$, a product of two Gaussians in $x_{t-1}$: so it is Gaussian, its precision (one over the variance) is the sum of
# the two precisions, and its mean is a weighted sum of $x_t$ and $x_0$. Give four lines, with $\alpha_t$ and $\bar\alpha_{t-1}$ only:
#
# 1. `precision`: the coefficient of $x_{t-1}^2$ in minus twice the exponent, collected from both factors.
# 2. `variance`: one over it, written without fractions in the numerator or the denominator.
# 3. `mean_xt`: the factor of $x_t$ in the mean.
# 4. `mean_x0`: the factor of $x_0$ in the mean.


# %% solution="posterior"
def posterior(alpha, alpha_bar_prev):
    """The lines of the posterior of x_{t-1} given x_t and x_0, as a dict."""
    ### BEGIN SOLUTION
    beta, alpha_bar = 1 - alpha, alpha * alpha_bar_prev
    return {
        "precision": alpha / beta + 1 / (1 - alpha_bar_prev),
        "variance": beta * (1 - alpha_bar_prev) / (1 - alpha_bar),
        "mean_xt": sp.sqrt(alpha) * (1 - alpha_bar_prev) / (1 - alpha_bar),
        "mean_x0": sp.sqrt(alpha_bar_prev) * beta / (1 - alpha_bar),
    }
    ### END SOLUTION


# %% check="posterior"
checks.posterior(posterior)

# %% grade="posterior" points=18
# Hidden tests of posterior run here when your notebook is graded.

# %% [markdown]
# ## Task 6: signal against noise (●○○, 5 minutes)
#
# The signal-to-noise ratio of $x_t$ is the squared factor of $x_0$ over the variance of the noise. Write it, its natural logarithm, and the way back: $\bar\alpha$ from the log-SNR.


# %% solution="snr"
def snr(alpha_bar):
    """The signal-to-noise ratio."""
    ### BEGIN SOLUTION
    return alpha_bar / (1 - alpha_bar)
    ### END SOLUTION


def log_snr(alpha_bar):
    """Its natural logarithm."""
    ### BEGIN SOLUTION
    return sp.log(alpha_bar) - sp.log(1 - alpha_bar)
    ### END SOLUTION


def alpha_bar_of(value):
    """alpha_bar, from the log-SNR."""
    ### BEGIN SOLUTION
    return 1 / (1 + sp.exp(-value))
    ### END SOLUTION


# %% check="snr"
checks.snr(snr, log_snr, alpha_bar_of)

# %% grade="snr" points=6
# Hidden tests of snr, log_snr and alpha_bar_of run here when your notebook is graded.

# %% [markdown]
# ## Task 7: jump there with tensors (●●○, 10 minutes)
#
# Now in numbers. `alpha_bar` is a tensor `(T + 1,)` with `alpha_bar[0] == 1`; `x0` has shape `(B, C, H, W)`, and each of its images has its own time in `t` `(B,)`. The noise comes in as an argument.


# %% solution="q_sample"
def q_sample(x0, t, alpha_bar, noise):
    """x_t of shape (B, C, H, W), by the closed form."""
    ### BEGIN SOLUTION
    a = alpha_bar[t].reshape(-1, 1, 1, 1)
    return a.sqrt() * x0 + (1 - a).sqrt() * noise
    ### END SOLUTION


# %% check="q_sample"
checks.q_sample(q_sample)

# %% grade="q_sample" points=10
# Hidden tests of q_sample run here when your notebook is graded.

# %% [markdown]
# ## Task 8: ask the dice (●●○, 10 minutes)
#
# Do not believe algebra that you can test. Start `n` walkers at the number `x0`, let each take the steps of `betas` `(T,)` one at a time, with fresh noise each time from a `torch.Generator` that starts at `seed`, and return the mean and the (unbiased) variance of where they arrive, as two numbers.


# %% solution="walk"
def walk(x0, betas, n, seed):
    """Mean and variance of x_T over n simulated walkers."""
    ### BEGIN SOLUTION
    generator = torch.Generator().manual_seed(seed)
    x = torch.full((n,), float(x0), dtype=torch.float64)
    for beta in betas.tolist():
        x = (1 - beta) ** 0.5 * x + beta**0.5 * torch.randn(n, generator=generator, dtype=torch.float64)
    return x.mean().item(), x.var().item()
    ### END SOLUTION


# %% check="walk"
checks.walk(walk)

# %% grade="walk" points=8
# Hidden tests of walk run here when your notebook is graded.

# %% [markdown]
# ## Task 9: why may we add the variances? (10 minutes, read by a person)
#
# In task 2 you replaced two noise terms by one. Prove in a few sentences that $a\,\epsilon_1 + b\,\epsilon_2$ has the same distribution as $\sqrt{a^2 + b^2}\,\epsilon$, and say where you use that $\epsilon_1$ and $\epsilon_2$ are independent. Then
# say what would go wrong with `two_steps` if the same noise were used in both steps.
#
# *You get 5 points for a complete proof, 2 for naming independence at the right place, and 3 for what goes wrong with the same noise, with the variance that it gives.*

# %% [markdown] manual="proof" points=10
# ### BEGIN SOLUTION
# The vector $(\epsilon_1, \epsilon_2)$ is standard normal because its parts are independent standard normal variables. A linear map of a Gaussian vector is Gaussian, so $z = a\epsilon_1 + b\epsilon_2$ is Gaussian, with mean $0$. Its variance is
# $a^2 \operatorname{Var}\epsilon_1 + b^2 \operatorname{Var}\epsilon_2 + 2ab \operatorname{Cov}(\epsilon_1, \epsilon_2) = a^2 + b^2$: independence makes the covariance vanish. A Gaussian is determined by mean and variance, so $z$ is distributed like $\sqrt{a^2 + b^2}\,\epsilon$.
# (5 points for this or for a proof by characteristic functions or by convolution, 2 for independence; the rest 3.)
# With the same noise in both steps the covariance is 1, the variance becomes $(a + b)^2$, and the closed form would be wrong: $x_2$ would be noisier than a single step to the same signal.
# ### END SOLUTION
