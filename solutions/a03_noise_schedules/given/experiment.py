"""The experiment of assignment 3, on digits in your ink: train one small network with each schedule, draw, measure, save."""

import time
from itertools import pairwise

import torch
from safetensors.torch import save_file

from course_lib.data import ink
from course_lib.data.sets import digits
from course_lib.evaluation.frechet import frechet_distance, moments
from course_lib.nets.mlp import MLP
from course_lib.training.loop import fit

T = 1000
STEPS = (10, 50, 100)  # of the sampler
TRAINING_STEPS, WINDOW = 3000, 100


def pen(name):
    """Your ink, (64,): how much of a stroke it leaves at each pixel."""
    return ink.ink(name, 8, grain=8).flatten()


def images(name):
    """The 1,797 digits in your ink, as rows (1797, 64) in [-1, 1]."""
    return ink.written(digits()[0].flatten(1), pen(name))


def new_network():
    """The network that every schedule trains."""
    return MLP(dim=64, width=96, depth=3)


def train(loss, alpha_bar, name, steps=TRAINING_STEPS, seed=0):
    """The network trained on digits in your ink, and the mean training loss of each window of 100 steps."""
    torch.manual_seed(seed)

    def objective(network, batch, generator):
        t = torch.randint(1, len(alpha_bar), (len(batch[0]),), generator=generator)
        noise = torch.randn(batch[0].shape, generator=generator)
        return loss(network, batch[0], t, noise, alpha_bar)

    states = fit(new_network(), objective, (images(name),), steps, batch_size=128, learning_rate=2e-3, bf16=False)
    losses = []
    for state in states:
        losses.append(state.loss)
    return state.ema.module.eval(), torch.tensor(losses).reshape(-1, WINDOW).mean(1)


@torch.no_grad()
def draw(network, alpha_bar, times, n=1000, seed=0):
    """Digits (n, 64), drawn along decreasing times by DDIM's deterministic step (Song et al., 2021, equation 12)."""
    x = torch.randn(n, 64, generator=torch.Generator().manual_seed(seed))
    for t, s in pairwise(times.tolist()):
        a_t, a_s = float(alpha_bar[t]), float(alpha_bar[s])
        eps = network(x, torch.tensor([t]))  # one time for all rows, so that the network embeds it once
        x0 = ((x - (1 - a_t) ** 0.5 * eps) / a_t**0.5).clamp(-1, 1)
        eps = (x - a_t**0.5 * x0) / (1 - a_t) ** 0.5
        x = a_s**0.5 * x0 + (1 - a_s) ** 0.5 * eps
    return x


def distance(samples, name):
    """The Fréchet distance between the pixels of drawn digits and of all real ones, in your ink."""
    return frechet_distance(moments(images(name).double()), samples.double())


def run(schedules, loss, spaced, name):
    """For each schedule: its network, its training losses, its distances at 10, 50 and 100 steps, and digits in your ink."""
    results = {}
    for which, schedule in schedules.items():
        begun, alpha_bar = time.monotonic(), schedule(T)
        network, losses = train(loss, alpha_bar, name)
        drawn = [draw(network, alpha_bar, torch.as_tensor(spaced(T, steps))) for steps in STEPS]
        distances = torch.tensor([distance(samples, name) for samples in drawn])
        results[which] = {"network": network, "losses": losses, "distances": distances, "digits": drawn}
        print(f"{which}: trained and drawn in {time.monotonic() - begun:.0f} seconds")
    return results


def save(file, results):
    """Write what is handed in."""
    tensors = {}
    for which, found in results.items():
        tensors |= {f"{which}.network.{key}": value for key, value in found["network"].state_dict().items()}
        tensors |= {f"{which}.losses": found["losses"], f"{which}.distances": found["distances"]}
    save_file({key: value.detach().float().contiguous() for key, value in tensors.items()}, file)


def table(results, name):
    """Print what the experiment shows."""
    print("schedule   last training loss   distance in 10, 50 and 100 steps")
    for which, found in results.items():
        distances = "   ".join(f"{value:.3f}" for value in found["distances"].tolist())
        print(f"{which:10} {found['losses'][-1]:18.3f}   {distances}")
    mixed = images(name)[torch.randperm(1797, generator=torch.Generator().manual_seed(0))].double()
    print(f"one half of the real digits is at {frechet_distance(mixed[:898], mixed[898:]):.3f} from the other")


def picture(plt, results, name):
    """The training curves, and digits drawn in 10 and in 100 steps, turned back into black and white."""
    figure, axes = plt.subplots(1, 1 + len(results), figsize=(10, 3), width_ratios=[2] + [1] * len(results))
    for (which, found), panel in zip(results.items(), axes[1:], strict=True):
        axes[0].plot(WINDOW * torch.arange(1, len(found["losses"]) + 1), found["losses"], label=which)
        drawn = [ink.read(samples[:5], pen(name)) for samples in (found["digits"][0], found["digits"][-1])]
        rows = [samples.reshape(5, 8, 8) for samples in drawn]
        panel.imshow(torch.cat([torch.cat(list(row)) for row in rows], 1), cmap="gray", vmin=-1, vmax=1)
        panel.set(title=f"{which}: 10, 100", xticks=[], yticks=[])
    axes[0].set(xlabel="training step", ylabel="training loss")
    axes[0].legend()
    figure.tight_layout()
    plt.show()
