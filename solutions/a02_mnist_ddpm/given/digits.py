"""What assignment 2 gives: an ink of your own, a network, the training loop, and a judge of digits."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from course_lib.data import ink, sets
from course_lib.data.images import to_unit
from course_lib.nets.unet import UNet
from course_lib.training.loop import fit
from course_lib.training.progress import progress


def written(images, name):
    """Digits (n, 1, 28, 28) in [-1, 1], in your ink: black stays black, and strokes are as bright as it leaves them."""
    return ink.written(images, ink.ink(name, 28, grain=10))


def read(images, name):
    """Digits in your ink, turned back into digits in black and white, in [-1, 1]."""
    return ink.read(images, ink.ink(name, 28, grain=10))


class NoiseNet(nn.Module):
    """A small U-Net with 2 x 2 patches that predicts noise.

    Near pure noise the answer is almost x_t itself, and a network with normalised layers is bad at copying its input. So we
    add that part, sqrt(1 - alpha_bar) x_t, and let the network learn what remains, scaled by sqrt(alpha_bar).
    """

    def __init__(self, alpha_bar):
        super().__init__()
        self.unet = UNet(channels=1, width=32, multipliers=(1, 2), blocks=1, attention=(1,), patch=2)
        self.register_buffer("alpha_bar", torch.as_tensor(alpha_bar).float(), persistent=False)

    def forward(self, x_t, t):
        """x_t (B, 1, 28, 28) and t (B,) to the predicted noise (B, 1, 28, 28)."""
        a = self.alpha_bar[t].reshape(-1, 1, 1, 1)
        scaled = t * (1000 / (len(self.alpha_bar) - 1))  # the time embedding was made for times up to 1000
        return (1 - a).sqrt() * x_t + a.sqrt() * self.unet(x_t, scaled)


def train(
    alpha_bar, loss, name, steps=1500, make_network=NoiseNet, batch_size=64, seed=0, state="training.safetensors"
):
    """The averaged network after training on MNIST in your ink; if training was interrupted, it goes on from the file `state`."""
    torch.manual_seed(seed)
    state, images = Path(state), sets.load("mnist", "train")[0]

    def objective(network, batch, generator):
        return loss(network, written(to_unit(batch[0]), name), alpha_bar, generator)

    going = fit(
        make_network(alpha_bar),
        objective,
        (images,),
        steps,
        batch_size,
        learning_rate=2e-3,
        seed=seed,
        resume=state if state.exists() else None,
    )
    for now in progress(going, steps):
        if now.step % 250 == 0:
            now.save(state)
    return now.ema.module.eval()


def save(file, network):
    """Write what is handed in."""
    save_file({name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}, file)


def load(file, alpha_bar):
    """The network with the weights in a file."""
    network = NoiseNet(alpha_bar)
    network.load_state_dict(load_file(file))
    return network.eval()


def show(plt, images, columns=10):
    """Digits (n, 1, 28, 28) in rows."""
    rows = images[: len(images) // columns * columns].reshape(-1, columns, 28, 28)
    figure, axes = plt.subplots(figsize=(columns * 0.7, len(rows) * 0.7))
    axes.imshow(torch.cat([torch.cat(list(row), 1) for row in rows]), cmap="gray", vmin=-1, vmax=1)
    axes.axis("off")
    figure.tight_layout()
    plt.show()


def judge(images, name):
    """Print what the course's classifier thinks of some digits in your ink."""
    from course_lib.evaluation.features import features
    from course_lib.models import store

    classifier, _ = store.load("mnist-classifier")
    log_probs = features(classifier, read(images, name)).log_probs
    sure = log_probs.max(1).values.exp()
    counts = torch.bincount(log_probs.argmax(1), minlength=10).tolist()
    print(f"the classifier is at least 90 % sure of {(sure > 0.9).double().mean():.0%} of these digits")
    print(f"how many of each class it sees: {counts}")
