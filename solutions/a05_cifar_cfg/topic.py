# ---
# jupyter:
#   course:
#     title: Classifier-free guidance on CIFAR-10
#     minutes: 95
#     files:
#       curve.safetensors: 4000000
#       network.safetensors: 20000000
#     optional:
#     - network.safetensors
#     limits:
#       call_seconds: 60
#       cpu_seconds: 300
#     withheld:
#     - diffusion
#     - sampling
#     - recipes
#     - nets.conditions.dropped
#     - a05_cifar_cfg.guide.noise_network
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Assignment 5: classifier-free guidance on CIFAR-10
#
# *How much should a model listen to what you ask for?*
#
# A conditional diffusion model that is asked for a horse draws something vaguely like a horse. Ho and Salimans (2022) found that a network which has also learned to draw without being asked can be pushed further: take the difference between its two answers, and exaggerate it. Pictures become clearer, and more alike. You write the
# training trick, the formula in both of its conventions, and the sampler, then measure what the scale buys and what it costs.
#
# **Time:** about 95 minutes, of which about five are the measurement on one core of a processor. **Points:** 100, of which 10 are for an argument that a person reads. **You need:** chapters 1 and 2 of the book, from chapter 3 the deterministic step, chapter 6 up to its algorithm, and for tasks 6 and 8 what chapter 7 says about the Fréchet distance. The papers: Ho and Salimans (2022), Song et al. (2021).
#
# How it works:
#
# - Each task asks for a small function, mostly a little more general than the book's. Replace the line that raises `NotImplementedError`.
# - The cell below it runs a public check. It says what is wrong. Hidden tests decide the points.
# - The measurement runs on your machine with a network that we give, begins with noise that is made from your name, and writes `curve.safetensors`. **Hand in that file with this notebook.** The grader measures its images again, draws one image per scale itself, chosen by lot, and has your sampler draw a few.
#
# **Conventions.** Images are `(B, 3, 32, 32)` in $[-1, 1]$, `labels` are `(B,)` from 0 to 9, and the class `null` (10) means "no class given". A network is called as `network(x_t, t, labels)` and predicts the noise, `(B, 3, 32, 32)`. The scale $s$ is such that $s = 0$ ignores the class and $s = 1$ is the conditional model. Your functions must not
# change a tensor that they are given: they make new ones.

# %%
from itertools import pairwise

import matplotlib.pyplot as plt
import torch

import checks
import guide

NULL = 10

# %% [markdown]
# ## First: your name
#
# Write the name under which you hand in: on a course's server your user name, elsewhere what your instructor calls your folder. The noise that your images begin with is made from it, so another name draws different images. Capitals do not matter.

# %% solution="NAME"
NAME = ""
### BEGIN SOLUTION
NAME = "reference"
### END SOLUTION

# %% check="name"
checks.name(NAME)

# %% [markdown]
# ## Task 1: forget the class now and then (●●○, 10 minutes)
#
# One network learns both answers if some of the training images, say a tenth, come without their class. But a real set of images already has gaps: where nobody knows the class, the label is $-1$. Those images teach the answer without a class as well as images with hidden labels do.
#
# Replace every $-1$ by `null`, and each other label by `null` independently and with the same probability for all of them, such that on average the share `share` of the whole batch ends as `null`. If more than that are unknown, hide no others. All randomness comes from the `torch.Generator`.


# %% solution="drop"
def drop_labels(labels, null, share, generator):
    """Labels (B,) from 0 to 9 or -1 for an unknown one; with null for unknown and for hidden ones."""
    ### BEGIN SOLUTION
    unknown = labels < 0
    gaps = unknown.double().mean()
    chance = (share - gaps) / (1 - gaps)
    dropped = torch.rand(len(labels), generator=generator) < chance
    return torch.where(unknown | dropped, null, labels)
    ### END SOLUTION


# %% check="drop"
checks.drop(drop_labels)

# %% grade="drop" points=10
# Hidden tests of drop_labels run here when your notebook is graded.

# %% [markdown]
# ## Task 2: one idea, two formulas (●●○, 15 minutes)
#
# From the answer with the class, $\epsilon_y$, and the one without, $\epsilon_\varnothing$, make the guided answer. In most code the **scale** $s$ counts from the unconditional answer: $s = 0$ is unconditional, $s = 1$ conditional. In the paper of Ho and Salimans the **weight** $w$ counts from the conditional one: $w = 0$ is
# conditional, $w = -1$ unconditional. Write both. The scale and the weight are a number, or a tensor `(B,)` with one for each image.
#
# Then write the conversions, and allow for a case that occurs in practice: some networks are trained to give an answer that is already guided (Meng et al., 2023). Suppose that the network's answer for a class is already guided with the scale $r$, while its answer for `null` is the plain one. Guide it once more, with the weight $w$ between
# these two answers: which scale $s$, used on plain answers, gives the same? With $r = 1$ nothing was guided before, and you have the plain conversion.


# %% solution="formulas"
def by_scale(eps_class, eps_null, s):
    """The guided noise prediction (B, 3, H, W) in the convention of s, a number or (B,), from two of that shape."""
    ### BEGIN SOLUTION
    s = torch.as_tensor(s).reshape(-1, 1, 1, 1)
    return eps_null + s * (eps_class - eps_null)
    ### END SOLUTION


def by_weight(eps_class, eps_null, w):
    """The guided noise prediction (B, 3, H, W) in the convention of Ho and Salimans, for w a number or (B,)."""
    ### BEGIN SOLUTION
    w = torch.as_tensor(w).reshape(-1, 1, 1, 1)
    return (1 + w) * eps_class - w * eps_null
    ### END SOLUTION


def scale_of(w, r=1.0):
    """The s that does, on plain answers, the same as w on an answer that is guided with the scale r already."""
    ### BEGIN SOLUTION
    return (1 + w) * r
    ### END SOLUTION


def weight_of(s, r=1.0):
    """The w that does, on an answer that is guided with the scale r already, the same as s on plain ones."""
    ### BEGIN SOLUTION
    return s / r - 1
    ### END SOLUTION


# %% check="formulas"
checks.formulas(by_scale, by_weight, scale_of, weight_of)

# %% grade="formulas" points=14
# Hidden tests of the four functions run here when your notebook is graded.

# %% [markdown]
# ## Task 3: ask the network twice (●○○, 10 minutes)
#
# Return the guided noise prediction of `network` at the scale `s`, a number or `(B,)`. The network has to be asked with the classes and with `null` for every image; you may do this in one call with a batch twice as large, or in two. The answer that we lead away from need not be that of *no class*: `null` is a number, or a tensor `(B,)` with a class for each image to lead
# away from.


# %% solution="guided"
def guided(network, x_t, t, labels, s, null):
    """The guided noise prediction (B, 3, 32, 32), for x_t (B, 3, 32, 32), t (B,), labels (B,), and s and null a number or (B,)."""
    ### BEGIN SOLUTION
    reference = torch.zeros_like(labels) + null
    both = network(torch.cat([x_t, x_t]), torch.cat([t, t]), torch.cat([labels, reference]))
    eps_class, eps_null = both.chunk(2)
    return by_scale(eps_class, eps_null, s)
    ### END SOLUTION


# %% check="guided"
checks.guided(guided)

# %% grade="guided" points=10
# Hidden tests of guided run here when your notebook is graded.

# %% [markdown]
# ## Task 4: one deterministic step (●●○, 10 minutes)
#
# DDIM's step (Song et al., 2021, equation 12 with $\sigma = 0$) goes from time $t$ to an earlier time $s$: solve for the $x_0$ that `eps` implies, clip it to $[-1, 1]$, find the noise that $x_t$ holds if this $x_0$ is right, and put both together with the amounts of time $s$. Here `a_t` and `a_s` are $\bar\alpha_t$ and
# $\bar\alpha_s$ as numbers.


# %% solution="step"
def step(x_t, eps, a_t, a_s):
    """x_s, of the shape of x_t."""
    ### BEGIN SOLUTION
    x0 = ((x_t - (1 - a_t) ** 0.5 * eps) / a_t**0.5).clamp(-1, 1)
    eps = (x_t - a_t**0.5 * x0) / (1 - a_t) ** 0.5
    return a_s**0.5 * x0 + (1 - a_s) ** 0.5 * eps
    ### END SOLUTION


# %% check="step"
checks.step(step)

# %% grade="step" points=10
# Hidden tests of step run here when your notebook is graded.

# %% [markdown]
# ## Task 5: the guided sampler (●●○, 10 minutes)
#
# Put it together. Start from the noise `x` that you are given, and step along `times`, a tensor of whole times that falls from $T$ to 0. `alpha_bar` has $T + 1$ entries. Nothing random happens on the way.


# %% solution="sampler"
@torch.no_grad()
def guided_sample(network, x, labels, s, null, alpha_bar, times):
    """Images (B, 3, 32, 32), one for each label."""
    ### BEGIN SOLUTION
    for t, earlier in pairwise(times):
        eps = guided(network, x, torch.full((len(x),), int(t)), labels, s, null)
        x = step(x, eps, float(alpha_bar[t]), float(alpha_bar[earlier]))
    return x
    ### END SOLUTION


# %% check="sampler"
checks.sampler(guided_sample)

# %% grade="sampler" points=14
# Hidden tests of guided_sample run here when your notebook is graded.

# %% [markdown]
# ## Task 6: the price of obedience (●●○, 20 minutes, some of them waiting: each scale takes half a minute to a minute on one core)
#
# Measure what your sampler draws at six scales or more. The network that we give, `cifar10-cfg`, was trained on one core of a processor for 100 minutes, so do not expect photographs. At each scale 100 images are drawn in 20 steps, always from the noise of your name, and measured with the course's classifier of CIFAR-10:
#
# - **accuracy**: how often the classifier sees the class that you asked for;
# - **frechet**: the Fréchet distance to real images in the classifier's features. With so few images in 256 features, every distance is too large (chapter 7): 100 real ones are at about 54, and with 300 images the distances of this network are lower by 32 at scale 0 and by 25 at scale 5. So look for the valley, and do not trust the second digit;
# - **diversity**: how far apart images of one class are in those features, relative to real images (1 is as diverse as reality).
#
# Choose your scales, at most 12 of them, at least 0.05 apart and none beyond 20 (beyond that, your processor's rounding decides what is drawn): `1` (no exaggeration) must be among them, and they have to reach from at most 1 to at least 4.
#
# *If you have a GPU, or a night:* train a network of your own with `course train cifar10-cfg --out RUN` (its options change how long), then measure that one. `weights = guide.own_weights("RUN", "network.safetensors")` writes a second file to hand in, and `measure` takes `weights=weights`. At its best scale, it has to draw the class that you asked for in three
# of ten cases or more.

# %% home="curve"
scales = [0.0, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0]
curve = guide.measure(guided_sample, NAME, scales)
guide.save("curve.safetensors", curve)
guide.picture(plt, curve)

# %% home="look"
guide.show(plt, curve, scales=(1.0, 3.0, 8.0))

# %% grade="curve" points=20
# The images in curve.safetensors are measured and compared with what guidance draws from your noise, and your sampler draws a few, when your notebook is graded.

# %% [markdown]
# ## Task 7: the verdict (●○○, 5 minutes)
#
# Read your curve, and fill in what it says: write the numbers in, because the file is not there when your notebook is graded. A scale means the nearest one of your curve. Where two scales are nearly as good (the accuracies within 2 %, the distances within 5 %), either is right; the diversities need two digits.


# %% solution="verdict"
def verdict():
    """What the curve shows, as a dict."""
    found = {
        "best_accuracy": None,  # the scale with the highest accuracy
        "best_frechet": None,  # the scale with the smallest Fréchet distance
        "diversity_at_1": None,  # the diversity at scale 1
        "diversity_at_largest": None,  # the diversity at your largest scale
    }
    ### BEGIN SOLUTION
    found["best_accuracy"] = 5.0
    found["best_frechet"] = 3.0
    found["diversity_at_1"] = 0.85
    found["diversity_at_largest"] = 0.70
    ### END SOLUTION
    return found


# %% check="verdict"
checks.verdict(verdict)

# %% grade="verdict" points=12
# Hidden tests of verdict run here when your notebook is graded.

# %% [markdown]
# ## Task 8: the sweet spot (●●○, 15 minutes, read by a person)
#
# Name the scale that you would use to make pictures for a children's book, and the one that you would use to make training data for a classifier, and defend both with numbers from your curve. Then explain why the Fréchet distance first falls and then rises with the scale.
#
# *You get 3 points for each scale: 1 for a scale that fits the purpose, 1 for what the purpose needs, 1 for the numbers from your curve that show it. And 4 for the explanation: 2 for what guidance repairs, 2 for what it spoils, each in terms of the features' means and covariances.*

# %% [markdown] manual="sweet_spot" points=10
# ### BEGIN SOLUTION
# For pictures, clarity counts: the scale of (nearly) the highest accuracy, even though diversity is lower there. (3 points) For training data, the images should be as varied as real ones and still of the right class: the scale with the smallest Fréchet distance or a little below it. (3 points)
#
# The Fréchet distance compares means and covariances. At small scales many images belong to no class clearly, so the mean of the features is off, and so is the covariance: images of different classes lie too near to each other. Guidance repairs that. (2 points) At large scales images of a class become alike and over-saturated, so the covariance
# shrinks and the mean moves away again. The smallest distance lies where one gain balances the other loss. (2 points)
#
# **Rubric.** Any scale on the student's own curve is welcome if its numbers are given and fit the purpose: a low scale for the book is fine if the answer says that children should see many different horses, and what accuracy that costs. Numbers without a purpose get 1 of 3, a purpose without numbers 2 of 3. An explanation that only says
# "the trade-off of quality and diversity" names both sides but not how a Fréchet distance sees them: 2 of 4.
#
# *Example, 10 points.* "Book: s = 5. A child should recognise the animal, and at 5 the classifier sees it in 95 % (49 % at s = 1). Diversity drops from 0.85 to 0.73, which does not matter for twenty pictures. Training data: s = 3. The classifier must see the breadth of each class; diversity is still 0.78 and the distance smallest
# there (70), with 87 % of the labels right. Below, wrong labels and shapeless images shift the mean of the features, and classes overlap; more guidance moves both towards the real ones. Above it the images of a class crowd together, so the covariance gets too small, and the glaring colours move the mean off: the distance rises to 84 at 8."
#
# *Example, 6 points.* "Book: 8, because accuracy is best there (95 %). (2: numbers and scale, but why accuracy?) Training data: 3, since the Fréchet distance is smallest, 70.3. (2: the same) First quality improves, then diversity gets lost. (2: both sides, but nothing of means or covariances)"
#
# *Example, 3 points.* "Book: a high scale because the pictures are clear. (2: no number) Training data: also a high scale, then the labels are right. (1: what it needs is half of it, and no number) The distance has a minimum because the model is overfitted otherwise. (0)"
# ### END SOLUTION
