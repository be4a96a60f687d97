# ---
# jupyter:
#   course:
#     title: The noise that a network predicts is a score
#     minutes: 120
#     withheld:
#     - diffusion
#     - sampling
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Assignment 4: the noise that a network predicts is a score
#
# *Two fields met here. One trained networks to guess the noise in an image, the other to point uphill in probability. Why did they find the same network?*
#
# Ho, Jain and Abbeel trained $\epsilon_\theta(x_t, t)$ to predict noise. Song and Ermon trained $s_\theta(x_t, t)$ to predict the score, the gradient of the log-density. You will prove line by line that the two differ by a known factor. Then you write the
# score of a Gaussian mixture, where nothing needs to be learned, and show that denoising score matching finds the very same function from noisy samples alone.
#
# **Time:** about two hours. **Points:** 100, of which 10 are for an argument that a person reads. **You need:** chapters 1 and 2 of the book, and from chapter 4 the sections *The picture* and *Learning a score*; gradients of logarithms, and least squares. No training, no data. The papers: Vincent (2011), Song and Ermon (2019), Ho et al. (2020).
#
# How it works:
#
# - Each task asks for a small function. Replace the line that raises `NotImplementedError`.
# - The cell below it runs a public check. It says what is wrong. Hidden tests with fresh numbers decide the points.
# - Tensors are small, so prefer `float64`, and aim for clear code before fast code. Leave what you are given as it is: return new tensors.
#
# **Conventions.** $x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon$ with $\epsilon \sim \mathcal N(0, I)$. The score of a density $p$ is $\nabla_x \log p(x)$. In the code `alpha_bar` is $\bar\alpha_t$.

# %%
import math

import matplotlib.pyplot as plt
import sympy as sp
import torch

import checks

# %% [markdown]
# ## Task 1: from density to noise, in four lines (●●○, 15 minutes)
#
# Take one dimension. Given $x_0$, the noisy value $x$ has the density $q(x \mid x_0) = \mathcal N(\sqrt{\bar\alpha}\, x_0,\ 1 - \bar\alpha)$. Give four lines:
#
# 1. `log_q`: $\log q(x \mid x_0)$, with its constant.
# 2. `score`: its derivative with respect to $x$.
# 3. `eps`: the noise $\epsilon$ that turned $x_0$ into $x$.
# 4. `ratio`: `eps` divided by `score`, simplified until only $\bar\alpha$ is left.
#
# Your formulas must work for SymPy symbols and for plain numbers alike, so use `sp.sqrt`, `sp.log` and `sp.pi`.


# %% solution="derivation"
def derivation(x, x0, alpha_bar):
    """The lines of the derivation, as a dict {"log_q": ..., "score": ..., "eps": ..., "ratio": ...}."""
    ### BEGIN SOLUTION
    variance = 1 - alpha_bar
    residual = x - sp.sqrt(alpha_bar) * x0
    return {
        "log_q": -(residual**2) / (2 * variance) - sp.log(2 * sp.pi * variance) / 2,
        "score": -residual / variance,
        "eps": residual / sp.sqrt(variance),
        "ratio": -sp.sqrt(variance),
    }
    ### END SOLUTION


# %% check="derivation"
checks.derivation(derivation)

# %% grade="derivation" points=14
# Hidden tests of derivation run here when your notebook is graded.

# %% [markdown]
# ## Task 2: there and back (●○○, 10 minutes)
#
# Turn a predicted noise into a score and a score into a noise. `eps` and `score` have shape `(B, ...)` with any number of further axes, and `alpha_bar` `(B,)` holds one number for each row.


# %% solution="convert"
def eps_to_score(eps, alpha_bar):
    """The score (B, ...) that belongs to a predicted noise (B, ...)."""
    ### BEGIN SOLUTION
    noise = (1 - alpha_bar).sqrt().reshape(-1, *[1] * (eps.ndim - 1))
    return -eps / noise
    ### END SOLUTION


def score_to_eps(score, alpha_bar):
    """The noise (B, ...) that belongs to a score (B, ...)."""
    ### BEGIN SOLUTION
    noise = (1 - alpha_bar).sqrt().reshape(-1, *[1] * (score.ndim - 1))
    return -noise * score
    ### END SOLUTION


# %% check="convert"
checks.convert(eps_to_score, score_to_eps)

# %% grade="convert" points=10
# Hidden tests of eps_to_score and score_to_eps run here when your notebook is graded.

# %% [markdown]
# ## Task 3: Tweedie's formula (●●○, 10 minutes)
#
# If you know the score of the noisy density, you know the best guess of the clean image: $\mathbb E[x_0 \mid x_t]$ is a function of $x_t$, $\nabla \log q(x_t)$ and $\bar\alpha_t$. Write this function. Shapes are as in task 2.
#
# *Hint.* In $x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon$, replace $\epsilon$ by what task 2 gives, and solve for $x_0$.


# %% solution="tweedie"
def tweedie(x_t, score, alpha_bar):
    """E[x_0 | x_t] (B, ...), from the score of the noisy density."""
    ### BEGIN SOLUTION
    a = alpha_bar.reshape(-1, *[1] * (x_t.ndim - 1))
    return (x_t + (1 - a) * score) / a.sqrt()
    ### END SOLUTION


# %% check="tweedie"
checks.tweedie(tweedie)

# %% grade="tweedie" points=10
# Hidden tests of tweedie run here when your notebook is graded.

# %% [markdown]
# ## Task 4: noise on a mixture (●○○, 10 minutes)
#
# Now a density whose score we can write down. Let $x_0$ come from a mixture of $K$ Gaussians in $D$ dimensions: component $k$ has the weight $w_k$, the mean $\mu_k$ and the covariance $v_k I$. The noisy $x_t$ comes from a mixture too, with the same weights. What are its means and variances?


# %% solution="noisy"
def noisy(means, variances, alpha_bar):
    """Means (K, D) and variances (K,) of the mixture of x_t; alpha_bar is a number."""
    ### BEGIN SOLUTION
    return math.sqrt(alpha_bar) * means, alpha_bar * variances + (1 - alpha_bar)
    ### END SOLUTION


# %% check="noisy"
checks.noisy(noisy)

# %% grade="noisy" points=8
# Hidden tests of noisy run here when your notebook is graded.

# %% [markdown]
# ## Task 5: the score of a mixture (●●●, 25 minutes)
#
# Write the log of $w_k p_k(x)$ for each point of `x` `(B, D)` and each component, then the log-density of the mixture, then its score. All have to survive points that lie far from all means, where every density underflows to 0: work with logarithms, and use `torch.logsumexp` and `softmax`.
#
# *Hint.* $\nabla \log \sum_k w_k p_k = \sum_k r_k \nabla \log p_k$, where $r_k$ is the probability that component $k$ made this point.


# %% solution="mixture"
def log_joint(x, weights, means, variances):
    """log of w_k p_k(x), for each point and each component, (B, K)."""
    ### BEGIN SOLUTION
    distance = (x[:, None] - means).square().sum(-1)
    return weights.log() - distance / (2 * variances) - x.shape[1] / 2 * (2 * math.pi * variances).log()
    ### END SOLUTION


def log_density(x, weights, means, variances):
    """log p(x), (B,)."""
    ### BEGIN SOLUTION
    return torch.logsumexp(log_joint(x, weights, means, variances), -1)
    ### END SOLUTION


def mixture_score(x, weights, means, variances):
    """The gradient of log p(x), (B, D)."""
    ### BEGIN SOLUTION
    responsible = log_joint(x, weights, means, variances).softmax(-1)  # (B, K)
    pull = (means - x[:, None]) / variances[:, None]  # (B, K, D)
    return (responsible[..., None] * pull).sum(1)
    ### END SOLUTION


# %% check="mixture"
checks.mixture(log_density, mixture_score)

# %% grade="mixture" points=16
# Hidden tests of log_joint, log_density and mixture_score run here when your notebook is graded.

# %% [markdown]
# ## Task 6: the score as an average (●●●, 20 minutes)
#
# For real images nobody knows the density. But suppose that the data set is all there is: $x_0$ is one of $N$ points, each with probability $1/N$. Then
#
# $$\nabla \log q(x_t) = \mathbb E\big[\nabla \log q(x_t \mid x_0) \,\big|\, x_t\big],$$
#
# an average of the scores of task 1 over all $x_0$ that may have led here. Write the probabilities $p(x_0 = y_n \mid x_t)$, then the average.


# %% solution="average"
def posterior(x, data, alpha_bar):
    """p(x_0 = data[n] | x_t = x), (B, N), for x (B, D), data (N, D) and a number alpha_bar."""
    ### BEGIN SOLUTION
    distance = (x[:, None] - math.sqrt(alpha_bar) * data).square().sum(-1)
    return (-distance / (2 * (1 - alpha_bar))).softmax(-1)
    ### END SOLUTION


def expected_score(x, data, alpha_bar):
    """The score of q(x_t) at x, (B, D), as an average over the data."""
    ### BEGIN SOLUTION
    scores = (math.sqrt(alpha_bar) * data - x[:, None]) / (1 - alpha_bar)  # (B, N, D)
    return (posterior(x, data, alpha_bar)[..., None] * scores).sum(1)
    ### END SOLUTION


# %% check="average"
checks.average(posterior, expected_score)

# %% grade="average" points=14
# Hidden tests of posterior and expected_score run here when your notebook is graded.

# %% [markdown]
# ## Task 7: denoising score matching (●●○, 10 minutes)
#
# The average of task 6 is also what a regression finds. Denoising score matching asks a function $s$ to hit the target $\nabla \log q(x_t \mid x_0)$, which we know because we made the noise:
#
# $$L(s) = \mathbb E\,\big\| s(x_t) - \nabla \log q(x_t \mid x_0) \big\|^2 .$$
#
# Write this loss: make $x_t$ from `x0` and `noise` (both `(B, D)`), and return the mean over the batch of the squared distance (summed over the $D$ coordinates). `score` is a function from `(B, D)` to `(B, D)`.


# %% solution="matching"
def matching_loss(score, x0, noise, alpha_bar):
    """The denoising score matching loss of one batch, a number; alpha_bar is a number."""
    ### BEGIN SOLUTION
    level = math.sqrt(1 - alpha_bar)
    x_t = math.sqrt(alpha_bar) * x0 + level * noise
    return (score(x_t) + noise / level).square().sum(-1).mean()
    ### END SOLUTION


# %% check="matching"
checks.matching(matching_loss)

# %% grade="matching" points=8
# Hidden tests of matching_loss run here when your notebook is graded.

# %% [markdown]
# ## Task 8: nobody told it the score (●●○, 10 minutes)
#
# The last step needs no network, since the loss is a quadratic function of $s$. Take functions of the form $s(x) = \phi(x)\, W$, where $\phi$ gives `(B, F)` features and $W$ is `(F, D)`. Find the $W$ with the smallest `matching_loss` on a batch: it is a linear least-squares problem
# (`torch.linalg.lstsq`).


# %% solution="fit"
def fit_score(features, x0, noise, alpha_bar):
    """The weights W (F, D) that minimise the denoising score matching loss of s(x) = features(x) @ W."""
    ### BEGIN SOLUTION
    level = math.sqrt(1 - alpha_bar)
    x_t = math.sqrt(alpha_bar) * x0 + level * noise
    return torch.linalg.lstsq(features(x_t), -noise / level).solution
    ### END SOLUTION


# %% check="fit"
checks.fit(fit_score)

# %% grade="fit" points=10
# Hidden tests of fit_score run here when your notebook is graded.

# %% [markdown]
# Look at what you have shown. The line is the true score of a noisy mixture, by tasks 4 and 5. The dots are the fit of task 8, which saw noisy samples and nothing else. Where the samples are rare, the fit is poor: remember this when you meet a network that is asked about images unlike its data.

# %% check="picture"
checks.picture(plt, noisy, mixture_score, fit_score)

# %% [markdown]
# ## Task 9: the wrong target, the right answer (●●○, 10 minutes, read by a person)
#
# `matching_loss` never sees the score $\nabla \log q(x_t)$. Its target $\nabla \log q(x_t \mid x_0)$ depends on an $x_0$ that the function $s$ does not know, and the loss does not fall to 0, however good $s$ is. Explain in a few sentences why the minimiser is nevertheless $\nabla \log q(x_t)$, say what the loss of
# the minimiser is, and say what follows for a network that was trained to predict noise with the loss of Ho et al. (2020).
#
# *You get 4 points for the argument (which function minimises a mean squared error, and why is it this one?), 3 for what is left of the loss, and 3 for the consequence with its factor.*

# %% [markdown] manual="argument" points=10
# ### BEGIN SOLUTION
# The function that minimises a mean squared error is the conditional expectation of the target, here $\mathbb E[\nabla \log q(x_t \mid x_0) \mid x_t]$. By task 6 this is $\nabla \log q(x_t)$: $\nabla q(x_t) = \int q(x_0)\, q(x_t \mid x_0)\, \nabla \log q(x_t \mid x_0)\, dx_0$, divided by $q(x_t)$. (4 points)
# What is left is the expected conditional variance of the target, $\mathbb E \operatorname{tr} \operatorname{Cov}[\nabla \log q(x_t \mid x_0) \mid x_t]$, which no function of $x_t$ can remove and which does not depend on $s$. (3 points)
# A network that predicts noise regresses on $\epsilon = -\sqrt{1 - \bar\alpha_t}\, \nabla \log q(x_t \mid x_0)$, so at its optimum $\epsilon_\theta(x_t, t) = -\sqrt{1 - \bar\alpha_t}\, \nabla \log q(x_t)$: it has learned the score up to a factor that we know. (3 points)
#
# *Three answers, and their points.*
#
# - "The mean squared error is smallest at the conditional mean of the target given $x_t$, and task 6 says that this mean is the score of $q(x_t)$. The rest is the variance of the target around this mean; no $s$ changes it. So the network of Ho et al. learns $-\sqrt{1 - \bar\alpha_t}$ times the score." 10 points: all three parts, and short is no fault.
# - "The noise in the target averages out, so the network learns the mean, which is the score. The loss does not go to 0 because there is always noise. Predicting noise is the same as predicting the score." 2 + 1 + 1 = 4 points: right in the main, but the mean *given $x_t$* is not said, what is left is not named as a (conditional) variance, and the factor is missing.
# - "The loss is a distance, so its minimum is where $s(x_t) = \nabla \log q(x_t \mid x_0)$, and there it is 0. By task 1, $\epsilon_\theta = -\sqrt{1 - \bar\alpha_t}\, s$." 0 + 0 + 3 = 3 points: $s$ cannot know $x_0$, so no function reaches that; the factor is right.
# ### END SOLUTION
