# ---
# jupyter:
#   course:
#     title: Three noise schedules on trial
#     minutes: 100
#     files:
#       experiment.safetensors: 4000000
#     withheld:
#     - diffusion
#     - sampling
#     - recipes
#     - training.loop.rate
#     - a03_noise_schedules.experiment.draw
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Assignment 3: three noise schedules on trial
#
# *How fast should an image drown in noise?*
#
# Ho, Jain and Abbeel let the noise variance of a step grow linearly. Nichol and Dhariwal found that this destroys small images too early: in the last quarter of the steps hardly anything is left to learn. They proposed a cosine. Who is right, and for how many sampling steps? You write both schedules and one of your own,
# train the same small network with each, and let the samples decide. On the way you will meet a trap: the schedule with the lowest training loss need not draw the best digits.
#
# **Time:** about 100 minutes, of which the experiment takes one or two. **Points:** 100, of which 10 are for an argument that a person reads. **You need:** from chapter 1 the sections up to the three schedules and the signal-to-noise ratio, and from chapter 2 the loss. The deterministic sampler and the distance between sets of images are given; chapters
# 3 and 7 explain them, and you need neither here. The papers: Ho et al. (2020), Nichol and Dhariwal (2021).
#
# How it works:
#
# - Each task asks for a small function. Replace the line that raises `NotImplementedError`.
# - The cell below it runs a public check. It says what is wrong. Hidden tests with fresh numbers decide the points.
# - The experiment trains on your machine and writes `experiment.safetensors`. **Hand in that file with this notebook.** When your work is graded, the cell is not run again: the grader draws digits with the weights in the file, and measures them itself.
#
# **Conventions.** A schedule with $T$ steps is a table `alpha_bar` of shape `(T + 1,)` in float64, with `alpha_bar[0] == 1`, so that `alpha_bar[t]` is $\bar\alpha_t$. Step $t$ adds noise of variance $\beta_t = 1 - \bar\alpha_t / \bar\alpha_{t-1}$.
# Your functions must not change a tensor that they are given: they make new ones.

# %%
import math

import matplotlib.pyplot as plt
import torch

import checks

# %% [markdown]
# ## First: your name
#
# The experiment of task 8 writes its digits in an ink of your own, which is made of your name: no network that anybody else has trained knows them. Write the name under which you hand in: on a course's server your user name, elsewhere what your instructor calls your folder. Capitals do not matter.

# %% solution="NAME"
NAME = ""
### BEGIN SOLUTION
NAME = "reference"
### END SOLUTION

# %% check="name"
checks.name(NAME)

# %% [markdown]
# ## Task 1: the linear schedule (●○○, 10 minutes)
#
# The variances $\beta_1, \dots, \beta_T$ rise in equal steps from `beta_min` to `beta_max`. Return the table of $\bar\alpha_t$.


# %% solution="linear"
def linear_schedule(T, beta_min=1e-4, beta_max=0.02):
    """alpha_bar (T + 1,) in float64."""
    ### BEGIN SOLUTION
    beta = torch.linspace(beta_min, beta_max, T, dtype=torch.float64)
    return torch.cat([torch.ones(1, dtype=torch.float64), (1 - beta).cumprod(0)])
    ### END SOLUTION


# %% check="linear"
checks.linear(linear_schedule)

# %% grade="linear" points=10
# Hidden tests of linear_schedule run here when your notebook is graded.

# %% [markdown]
# ## Task 2: the cosine schedule (●●○, 15 minutes)
#
# Let $f(t) = \cos^2\!\left(\frac{t/T + s}{1 + s} \cdot \frac{\pi}{2}\right)$ and $\bar\alpha_t = f(t)/f(0)$ (equation 17 of Nichol and Dhariwal, 2021). At $t = T$ the cosine is 0, so the last step would replace the image by noise. The authors therefore clip each $\beta_t$ at `beta_max`: compute the
# $\beta_t$ of this curve, clip them, and multiply the table together again.


# %% solution="cosine"
def cosine_schedule(T, s=0.008, beta_max=0.999):
    """alpha_bar (T + 1,) in float64."""
    ### BEGIN SOLUTION
    t = torch.arange(T + 1, dtype=torch.float64)
    f = torch.cos((t / T + s) / (1 + s) * math.pi / 2) ** 2
    beta = (1 - f[1:] / f[:-1]).clamp(max=beta_max)
    return torch.cat([torch.ones(1, dtype=torch.float64), (1 - beta).cumprod(0)])
    ### END SOLUTION


# %% check="cosine"
checks.cosine(cosine_schedule)

# %% grade="cosine" points=12
# Hidden tests of cosine_schedule run here when your notebook is graded.

# %% [markdown]
# ## Task 3: one of your own (●●○, 15 minutes)
#
# Invent a schedule. It has to
#
# - start at `alpha_bar[0] == 1`, fall at every step, stay above $10^{-12}$ (the sampler divides by its root), and end at 0.01 or below;
# - begin gently: the first step adds noise of variance 0.2 or less;
# - work for every even $T$ from 50 on, and be the same curve for all of them: `alpha_bar` at $t = T/2$ may vary with $T$ by 0.05 at most;
# - be neither the linear nor the cosine schedule in disguise: for $T = 1000$ we compare $\log(\bar\alpha_t / (1 - \bar\alpha_t))$ at the nine times $t = 100, 200, \dots, 900$. At one or more of them, yours has to lie 0.5 or more from the linear schedule, and likewise from the cosine.
#
# The public check looks at all of this, as the hidden tests do.
#
# *Ideas.* A straight line in log-SNR (which is infinite at $t = 0$, so write the 1 there yourself); a sigmoid; a polynomial; $\bar\alpha_t$ itself as a straight line.


# %% solution="mine"
def my_schedule(T):
    """alpha_bar (T + 1,) in float64."""
    ### BEGIN SOLUTION
    log_snr = torch.linspace(8, -8, T + 1, dtype=torch.float64)
    alpha_bar = torch.sigmoid(log_snr)
    alpha_bar[0] = 1
    return alpha_bar
    ### END SOLUTION


# %% check="mine"
checks.mine(my_schedule)

# %% grade="mine" points=10
# Hidden tests of my_schedule run here when your notebook is graded.

# %% [markdown]
# ## Task 4: a common ruler (●○○, 5 minutes)
#
# Step 300 of one schedule has nothing to do with step 300 of another. What can be compared is how much signal is left against the noise. Write the log-SNR of the steps 1 to $T$ (at step 0 there is no noise, and it is infinite): the natural logarithm of $\bar\alpha_t / (1 - \bar\alpha_t)$.


# %% solution="log_snr"
def log_snr(alpha_bar):
    """The log-SNR of steps 1 to T, (T,), from alpha_bar (T + 1,)."""
    ### BEGIN SOLUTION
    return alpha_bar[1:].log() - (1 - alpha_bar[1:]).log()
    ### END SOLUTION


# %% check="log_snr"
checks.log_snr(log_snr)

# %% grade="log_snr" points=8
# Hidden tests of log_snr run here when your notebook is graded.

# %% [markdown]
# ## Task 5: where training spends its time (●○○, 5 minutes)
#
# Training draws $t$ uniformly from $1, \dots, T$, so a schedule decides how often the network sees each noise level. What share of the steps 1 to $T$ has a log-SNR in `[low, high)`? The bound `low` belongs to the interval, and `high` does not.


# %% solution="share"
def share(alpha_bar, low, high):
    """The share of the steps 1 to T with low <= log-SNR < high, a number in [0, 1]."""
    ### BEGIN SOLUTION
    level = log_snr(alpha_bar)
    return ((level >= low) & (level < high)).double().mean().item()
    ### END SOLUTION


# %% check="share"
checks.share(share)

# %% grade="share" points=8
# Hidden tests of share run here when your notebook is graded.

# %% [markdown]
# Look at your three schedules. Where is the linear one still working on the digit, and where does it only stir noise?

# %% check="picture"
checks.picture(plt, {"linear": linear_schedule, "cosine": cosine_schedule, "mine": my_schedule}, log_snr)

# %% [markdown]
# ## Task 6: fewer steps (●○○, 10 minutes)
#
# To draw with fewer steps than we trained with, the sampler visits only some of the times. Return `steps + 1` whole times, as evenly spaced as whole numbers can be, that fall from $T$ to 0, both included. (Round to the nearest whole number; where two are equally near, either will do.) The sampler looks them up in tables, so they are integers, not floats.


# %% solution="spaced"
def spaced(T, steps):
    """A tensor (steps + 1,) of whole times that falls from T to 0."""
    ### BEGIN SOLUTION
    return torch.linspace(T, 0, steps + 1, dtype=torch.float64).round().long()
    ### END SOLUTION


# %% check="spaced"
checks.spaced(spaced)

# %% grade="spaced" points=8
# Hidden tests of spaced run here when your notebook is graded.

# %% [markdown]
# ## Task 7: the loss (●●○, 10 minutes)
#
# The loss of Ho et al. (2020), equation 14: make $x_t$ from `x0` `(B, D)` and `noise` `(B, D)`, each row with its own time in `t` `(B,)`, and return the mean squared error of the noise that `network(x_t, t)` predicts, over all entries. Return a tensor `()`, so that it can be differentiated.
#
# The table is in float64, and whatever meets a float64 tensor becomes one. But the network's weights are in single precision, as `x0` is, and the network refuses anything else: hand it $x_t$ in the precision of `x0`.


# %% solution="loss"
def loss(network, x0, t, noise, alpha_bar):
    """The mean squared error of the predicted noise, ()."""
    ### BEGIN SOLUTION
    a = alpha_bar[t][:, None].to(x0)
    x_t = a.sqrt() * x0 + (1 - a).sqrt() * noise
    return (network(x_t, t) - noise).square().mean()
    ### END SOLUTION


# %% check="loss"
checks.loss(loss)

# %% grade="loss" points=10
# Hidden tests of loss run here when your notebook is graded.

# %% [markdown]
# ## Task 8: the trial (●○○, 10 minutes)
#
# Run the experiment. For each of your three schedules with $T = 1000$ it trains the same small network on scikit-learn's 8 × 8 digits, written in your ink, then draws 1000 digits in 10, 50 and 100 deterministic steps, and measures how far they are from the real ones (the Fréchet distance between the pixels; the line below the table says how far one half of the real digits is from the other). It takes a minute or
# two and says after each schedule how long that one took. Run it again whenever you have changed a schedule, the loss, or your name.
#
# *8 of the points are for networks that have learned to draw digits with their schedules, and 6 for a file that says what they do. The grader draws with your networks along your own schedules, right or wrong: a mistake in a schedule has cost its points above. But the three schedules have to differ, and the networks have to know your ink.*

# %% home="experiment"
import experiment

schedules = {"linear": linear_schedule, "cosine": cosine_schedule, "mine": my_schedule}
results = experiment.run(schedules, loss, spaced, NAME)
experiment.save("experiment.safetensors", results)
experiment.table(results, NAME)
experiment.picture(plt, results, NAME)

# %% grade="experiment" points=14
# The file experiment.safetensors is examined here when your notebook is graded.

# %% [markdown]
# ## Task 9: the verdict (●●○, 10 minutes)
#
# Read your table, and fill in what it says: assign the five values above the `return`, whose comments say what each is. Write the numbers in, because the file is not there when your notebook is graded. A name is `"linear"`, `"cosine"` or `"mine"`; where two lie within a tenth of each other, either is right. A number has to be right to one part in
# five.


# %% solution="verdict"
def verdict():
    """What the experiment shows, as a dict of three names and two numbers."""
    ### BEGIN SOLUTION
    lowest_loss = "linear"
    best_at_10 = "cosine"
    best_at_100 = "cosine"
    linear_over_cosine_at_10 = 1.65
    cosine_10_over_100 = 1.67
    ### END SOLUTION
    return {
        "lowest_loss": lowest_loss,  # a name: whose training loss is the lowest in the end
        "best_at_10": best_at_10,  # a name: whose digits are nearest to the real ones, drawn in 10 steps
        "best_at_100": best_at_100,  # a name: the same in 100 steps
        "linear_over_cosine_at_10": linear_over_cosine_at_10,  # a number: distance of linear / distance of cosine, in 10 steps
        "cosine_10_over_100": cosine_10_over_100,  # a number: distance of cosine in 10 steps / its distance in 100
    }


# %% check="verdict"
checks.verdict(verdict)

# %% grade="verdict" points=10
# Hidden tests of verdict run here when your notebook is graded.

# %% [markdown]
# ## Task 10: an unfair comparison (●●○, 10 minutes, read by a person)
#
# A friend trains with your three schedules, looks only at the training losses, and keeps the schedule with the lowest one. Explain what is wrong with this, with the help of your `share` or your picture, and propose a comparison of the three trained networks by a loss (not by samples) that would be fair. Five to ten sentences.
#
# *You get 4 points for why the losses cannot be compared, 2 for a number from this notebook that shows it, and 4 for a fair comparison: 3 for what has to be equal in it, and 1 for how you would do it with these three networks.*

# %% [markdown] manual="argument" points=10
# ### BEGIN SOLUTION
# The loss is an average over the times, and each schedule has other noise levels at its times. Where there is almost only noise, predicting the noise is easy: $x_t$ itself is a good guess. The linear schedule spends 30 % of its steps below a log-SNR of $-5$ and the cosine 5 %, so its average holds more of the easy steps and is
# lower although its network is no better at any noise level. The loss says as much about the schedule as about the network. (6 points)
# Fair: measure each network's error at the same noise levels, for instance at a fixed list of log-SNRs, asking each schedule for the time that has this level, and compare level by level or with one common weight; better still the error of the predicted $x_0$ on digits that were held out. (4 points)
#
# **How answers are read.** *Why (4):* the average runs over noise levels that differ from schedule to schedule (2), and some levels are easier than others, those with much noise (2). *A number (2):* a share, a place in the picture or a log-SNR of the student's own, used in the argument; 1 if it stands there without use. *Fair (4):* equal noise levels (3), and how (1).
#
# - *"Linear has the lowest loss because 30 % of its steps are below −5, where x_t is nearly the noise, and copying it is enough; for cosine it is 5 %. I would take log-SNRs from −8 to 8, look up for each schedule the t with that level, and plot the three losses over the level."* 4 + 2 + 4 = 10.
# - *"The schedules have different noise at each t, so the losses are averages over different things and one cannot compare them. One should evaluate all three networks at the same t, for example t = 100, 500 and 900."* Why: 2 of 4, since nothing says which levels are easy. No number: 0. Fair: 0, since equal times are what is unfair. 2.
# - *"The loss is low for linear because most of its steps are nearly pure noise (its curve in the picture is below −5 from t = 700 on), which is easy. To be fair, one should weight the loss so that every noise level counts the same for the three."* Why 4, number 2. Fair: 3, since equal weight for equal levels is meant, but not how. 9.
# - *"A low loss does not mean good samples, as the table shows: cosine draws better with a higher loss. Use the loss on a test set."* True, but it says that, not why: 0. Number 0. A test set alone leaves the levels unequal: 0. With the table's numbers, still 0 of 2, since they do not show why. 0.
# ### END SOLUTION
