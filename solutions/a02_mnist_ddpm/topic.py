# ---
# jupyter:
#   course:
#     title: A diffusion model of handwritten digits
#     minutes: 90
#     data:
#     - mnist
#     files:
#       weights.safetensors: 6000000
#     limits:
#       call_seconds: 60
#       cpu_seconds: 400
#     withheld:
#     - diffusion
#     - sampling
#     - recipes
#     - a02_mnist_ddpm.digits.NoiseNet.forward
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Assignment 2: a diffusion model of handwritten digits
#
# *Can you make a machine write digits that nobody has written?*
#
# You write every part of the model of Ho, Jain and Abbeel (2020) except the network: the schedule, the forward process, the loss, one step back, the sampler. Then you train it on MNIST, written in an ink of your own: no model that anybody else has trained knows your digits. You hand in this notebook together with the weights. The grader looks at one step of yours and at each step of your sampler, and draws with your network; a classifier that knows MNIST says how good the digits are.
#
# **Time:** about an hour and a half, of which 5 to 15 minutes are training on a laptop. **Points:** 100, of which 10 are for an argument and a measurement that a person reads. **You need:** chapters 1 and 2 of the book, and tensors in PyTorch: shapes, broadcasting, `torch.Generator`.
#
# How it works:
#
# - Each task asks for a small function. Replace the line that raises `NotImplementedError`.
# - The cell below it runs a public check. It says what is wrong. Hidden tests decide the points. Leave what you are given as it is: return new tensors.
# - Training runs on your machine and writes `weights.safetensors`. **Hand in that file with this notebook.** Cells for training are not run when your work is graded.
#
# **Conventions.** $T = 250$ steps. `alpha_bar` has shape `(T + 1,)`, and `alpha_bar[0] == 1`. Images are `(B, 1, 28, 28)` in $[-1, 1]$, times `t` are `(B,)`. A network is called as `network(x_t, t)` and predicts the noise $\epsilon$, `(B, 1, 28, 28)`.

# %%
import math

import matplotlib.pyplot as plt
import torch

import checks
import digits

T = 250

# %% [markdown]
# ## First: your name
#
# Write the name under which you hand in: on a course's server your user name, elsewhere what your instructor calls your folder. Your ink is made from it, so another name makes different digits. Capitals do not matter.

# %% solution="NAME"
NAME = ""
### BEGIN SOLUTION
NAME = "reference"
### END SOLUTION

# %% check="name"
checks.name(NAME)

# %% [markdown]
# ## Task 1: the schedule (●○○, 5 minutes)
#
# The paper takes $T = 1000$ steps with $\beta_t$ rising linearly from 0.0001 to 0.02. We take a quarter of the steps, each four times as large: from `beta_min` to `beta_max`, both included. Return $\bar\alpha_t$ as a table in float32.


# %% solution="schedule"
def linear_schedule(T, beta_min=0.0004, beta_max=0.08):
    """alpha_bar (T + 1,) in float32."""
    ### BEGIN SOLUTION
    beta = torch.linspace(beta_min, beta_max, T, dtype=torch.float64)
    return torch.cat([torch.ones(1, dtype=torch.float64), (1 - beta).cumprod(0)]).float()
    ### END SOLUTION


# %% check="schedule"
checks.schedule(linear_schedule)

# %% grade="schedule" points=6
# Hidden tests of linear_schedule run here when your notebook is graded.

# %% [markdown]
# ## Task 2: the forward process (●○○, 5 minutes)
#
# Jump from clean images to noisy ones. Every image has its own time.


# %% solution="q_sample"
def q_sample(x0, t, noise, alpha_bar):
    """x_t (B, C, H, W), from x0 and noise (B, C, H, W) and t (B,)."""
    ### BEGIN SOLUTION
    a = alpha_bar[t].reshape(-1, 1, 1, 1)
    return a.sqrt() * x0 + (1 - a).sqrt() * noise
    ### END SOLUTION


# %% check="q_sample"
checks.q_sample(q_sample)

# %% grade="q_sample" points=8
# Hidden tests of q_sample run here when your notebook is graded.

# %% [markdown]
# ## Task 3: the loss (●●○, 15 minutes)
#
# One step of Algorithm 1 of Ho et al. (2020): for each image draw $t$ uniformly from $1, \dots, T$ and $\epsilon \sim \mathcal N(0, I)$, ask the network about $x_t$, and return the mean squared error of its answer over all pixels, as a tensor `()`. All randomness comes from the `torch.Generator` that you are given.


# %% solution="loss"
def loss(network, x0, alpha_bar, generator):
    """The training loss of one batch x0 (B, 1, 28, 28), ()."""
    ### BEGIN SOLUTION
    t = torch.randint(1, len(alpha_bar), (len(x0),), generator=generator)
    noise = torch.randn(x0.shape, generator=generator)
    x_t = q_sample(x0, t, noise, alpha_bar)
    return (network(x_t, t) - noise).square().mean()
    ### END SOLUTION


# %% check="loss"
checks.loss(loss)

# %% grade="loss" points=14
# Hidden tests of loss run here when your notebook is graded.

# %% [markdown]
# ## Task 4: one step back (●●○, 15 minutes)
#
# The heart of Algorithm 2 of Ho et al. (2020): from $x_t$ and the noise $\epsilon$ that a network sees in it, draw $x_{t-1}$ from a Gaussian with mean
#
# $$\frac{1}{\sqrt{\alpha_t}} \Big( x_t - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\, \epsilon \Big)$$
#
# and variance $\sigma_t^2$, that is, add $\sigma_t$ times a `noise` that you are given. Both choices of the paper are right, $\sigma_t^2 = \beta_t$ and $\sigma_t^2 = \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t} \beta_t$, with $\alpha_t = \bar\alpha_t / \bar\alpha_{t-1}$ and $\beta_t = 1 - \alpha_t$. The last step, from $t = 1$ to $x_0$, adds
# no noise, whatever it is given. All images are at the same time here, so `t` is a whole number. The table may have any length.
#
# *You may do better.* Solving for $x_0$ first, clipping it to $[-1, 1]$, and taking the mean of $q(x_{t-1} \mid x_t, x_0)$ is the same formula while nothing is clipped, and draws cleaner digits.


# %% solution="step"
def reverse_step(x_t, eps, t, noise, alpha_bar):
    """x_{t-1}, from x_t, the noise eps predicted in it, and the noise to add, all (B, 1, 28, 28); t is a whole number."""
    ### BEGIN SOLUTION
    bar, before = float(alpha_bar[t]), float(alpha_bar[t - 1])
    beta = 1 - bar / before
    x0 = ((x_t - math.sqrt(1 - bar) * eps) / math.sqrt(bar)).clamp(-1, 1)
    mean = math.sqrt(before) * beta / (1 - bar) * x0 + math.sqrt(1 - beta) * (1 - before) / (1 - bar) * x_t
    deviation = math.sqrt((1 - before) / (1 - bar) * beta)
    return mean + deviation * noise if t > 1 else mean
    ### END SOLUTION


# %% check="step"
checks.step(reverse_step)

# %% grade="step" points=12
# Hidden tests of reverse_step run here when your notebook is graded.

# %% [markdown]
# ## Task 5: the sampler (●●○, 10 minutes)
#
# The whole of Algorithm 2: start from pure noise, and for $t = T, \dots, 1$ ask the network about all images and take a step back. Every pixel of every image gets new noise in every step, from the generator. Return images in $[-1, 1]$ (clip what lies outside at the end), without gradients: ask the network inside `with torch.no_grad():`.


# %% solution="sample"
def sample(network, n, alpha_bar, generator):
    """n images (n, 1, 28, 28) in [-1, 1], drawn with noise from the generator."""
    ### BEGIN SOLUTION
    x = torch.randn(n, 1, 28, 28, generator=generator)
    with torch.no_grad():
        for t in range(len(alpha_bar) - 1, 0, -1):
            eps = network(x, torch.full((n,), t))
            x = reverse_step(x, eps, t, torch.randn(x.shape, generator=generator), alpha_bar)
    return x.clamp(-1, 1)
    ### END SOLUTION


# %% check="sample"
checks.sample(sample)

# %% grade="sample" points=12
# Hidden tests of sample run here when your notebook is graded.

# %% [markdown]
# ## Task 6: train it (●○○, 15 minutes, most of them waiting)
#
# `digits.NoiseNet(alpha_bar)` is a small U-Net that trains fast. `digits.train` shows a progress bar. At each step it takes a batch of MNIST, writes it in your ink, asks your `loss`, and averages the weights. 1,500 steps take between five and fifteen minutes on a laptop. Start with 100 to see that the loss falls well below 1. Interrupt it whenever you like, and run the cell again: it goes on where it stopped.

# %% home="train"
network = digits.train(linear_schedule(T), loss, NAME, steps=1500)
digits.save("weights.safetensors", network)

# %% [markdown]
# Now look at your own digits, drawn by your own sampler. *(An evening left? `digits.train(..., make_network=...)` takes any network of yours, and `sample` draws with it. Hand in the weights of `digits.NoiseNet` all the same.)*

# %% home="look"
drawn = sample(
    digits.load("weights.safetensors", linear_schedule(T)), 40, linear_schedule(T), torch.Generator().manual_seed(0)
)
digits.show(plt, drawn)
digits.judge(drawn, NAME)

# %% [markdown]
# When your work is graded, the grader puts your weights into a `NoiseNet` of its own. First it asks how well that network finds the noise in digits of your ink that it has not seen. Somebody else's weights, or those of a model that comes with the course, have learned another ink, and earn nothing here.

# %% grade="learned" points=14
# Your network removes noise from new digits here when your notebook is graded.

# %% [markdown]
# Then it draws 100 digits with your network, in 25 steps of its own sampler, and turns your ink back into black and white. The points come in bands: for clear digits of all ten kinds, as a classifier sees them, and for a small Fréchet distance to MNIST (in the classifier's features; 100 real digits are at about 1.6).

# %% grade="digits" points=24
# Your network draws digits here when your notebook is graded.

# %% [markdown]
# ## Task 7: what the loss does not say (●●○, 25 minutes, read by a person)
#
# Your training loss fell fast in the first minute and hardly at all in the last five, and yet longer training gives better digits. Explain why the average loss is a poor measure of sample quality: which times dominate it, and which times decide whether a shape is a digit? Support your answer with a measurement of your own (a
# cell of code and its numbers below this one): the loss of your trained network at a few single times.
#
# *You get 5 points for the argument (which times dominate, which decide, and why the one hides the other) and 5 for a measurement that supports it (numbers of yours at three or more times, over enough images that they mean something).*

# %% [markdown] manual="argument" points=10
# ### BEGIN SOLUTION
# Near $t = 0$ there is little noise, and telling it from the strokes is hard: the loss there is large however good the network is (about 0.8 at $t = 1$). Near $t = T$ the image is almost pure noise, and the loss is tiny for every network (about 0.0002 at $t = 200$). The average is dominated by small $t$, which decide about crisp edges
# that nobody misses. Whether strokes join into a digit is decided at middle and large $t$, where much of $x_0$ is still unknown but enters the loss with the small weight $\bar\alpha_t / (1 - \bar\alpha_t)$. Halving the error there changes the average by a few per cent, and the digits from scribbles to digits. (5 points; 5 more for
# losses at single times, for instance 0.76, 0.07, 0.02 and 0.0002 at $t = 1, 25, 100, 200$.)
#
# *Three answers, and their points.*
#
# - The argument above in three sentences, and a cell that gives the loss at $t = 1, 25, 100, 200$ on 500 digits. 5 + 5 = 10 points.
# - "Small $t$ have the large losses, so the average says how well the network removes a little noise. The shape comes from large $t$. I measured 0.8 at $t = 1$ and 0.0002 at $t = 200$." 4 + 3 = 7 points: why an error at large $t$ hardly counts in the average is not said, and two times do not show where the loss falls.
# - "The loss is noisy because $t$ and the noise are random, so we cannot see small changes. Here is my curve of the training loss." 1 + 0 = 1 point: true of one batch, but the average over many is just as blind; the curve mixes all times.
# ### END SOLUTION
