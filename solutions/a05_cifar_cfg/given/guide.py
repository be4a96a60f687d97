"""What assignment 5 gives: a trained network, noise of your own, the measurement of a guided sampler, and pictures."""

from functools import cache
from pathlib import Path

import torch
from rich.progress import track
from safetensors.torch import load_file, save_file

from course_lib.data import ink
from course_lib.data.images import to_bytes, to_unit
from course_lib.evaluation.classes import label_accuracy
from course_lib.evaluation.features import features
from course_lib.evaluation.frechet import frechet_distance
from course_lib.evaluation.reference import load_reference
from course_lib.hardware import bf16_is_fast
from course_lib.models import store
from course_lib.models.tensors import load_weights

NULL, N, STEPS, LARGEST, MOST = 10, 100, 20, 20, 12  # no scale may lie beyond LARGEST, and a file holds MOST of them
MEASURES = ("accuracy", "frechet", "diversity")
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def schedule():
    """alpha_bar (1001,) of the schedule that the network was trained with."""
    return store.load("cifar10-cfg")[1].build_schedule().alpha_bar


def times():
    """The times of the sampler, from 1000 to 0."""
    return torch.linspace(1000, 0, STEPS + 1, dtype=torch.float64).round().long()


def noise_network(weights=None):
    """The given network as a function (x_t, t, labels) to the noise; it was trained to predict v, from which the noise follows.

    With `weights` (tensors by name), the same network with other weights. Raises ValueError if they do not fit into it.
    """
    network, card = store.load("cifar10-cfg")
    alpha_bar = card.build_schedule().alpha_bar.float()
    if weights is not None:
        load_weights(network, weights, Path("the file"))

    @torch.no_grad()
    def predict(x_t, t, labels):
        a = alpha_bar[t].reshape(-1, 1, 1, 1)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16_is_fast(torch.device("cpu"))):
            v = network(x_t.float(), t, labels).float()
        return (1 - a).sqrt() * x_t.float() + a.sqrt() * v

    return predict


def own_weights(run, file):
    """Write the weights of your own training run (`course train cifar10-cfg --out RUN`) as they are handed in; returns them."""
    network, card = store.load(run)
    _, given = store.load("cifar10-cfg")
    if (card.architecture, card.config, card.prediction, card.schedule) != (
        given.architecture,
        given.config,
        given.prediction,
        given.schedule,
    ):
        raise ValueError(f"{run} is not a run of `course train cifar10-cfg`: only such networks can be measured here")
    save_file({name: value.bfloat16().contiguous() for name, value in network.state_dict().items()}, file)
    return load_file(file)


def start(name):
    """The noise (N, 3, 32, 32) that is made from your name, and the labels (N,): what the sampler begins with."""
    return torch.randn(N, 3, 32, 32, generator=torch.Generator().manual_seed(ink.seed(name))), torch.arange(N) % 10


def spread(vectors, labels):
    """The mean distance between two images of the same class, in the classifier's features."""
    means = []
    for label in range(10):
        rows = vectors[labels == label]
        means.append(torch.cdist(rows, rows).sum() / (len(rows) * (len(rows) - 1)))
    return float(torch.stack(means).mean())


@cache
def judge():
    """The course's classifier of CIFAR-10, what it sees in real images, and the `spread` of the same number of real test images."""
    reference = load_reference("cifar10")
    labels = reference.test.log_probs.argmax(1)
    rows = torch.cat([(labels == label).nonzero()[: N // 10, 0] for label in range(10)])
    return store.load("cifar10-classifier")[0], reference, spread(reference.test.vectors[rows], labels[rows])


def point(images, labels):
    """What the course's classifier of CIFAR-10 says of images, as bytes or in [-1, 1]: accuracy, Fréchet distance, diversity."""
    classifier, reference, real_spread = judge()
    found = features(classifier, images)
    return {
        "accuracy": label_accuracy(found.log_probs, labels),
        "frechet": frechet_distance(reference.train, found.vectors),
        "diversity": spread(found.vectors, labels) / real_spread,
    }


def measure(guided_sample, name, scales, weights=None):
    """For each scale, in increasing order, the images that are drawn from your noise and what is measured on them.

    With the given network, or with your own weights. Raises ValueError for scales beyond 20, and for more than 12 of them.
    """
    if len(scales) > MOST or any(abs(scale) > LARGEST for scale in scales):
        raise ValueError(f"take {MOST} scales at most, and none beyond {LARGEST}; got {scales}")
    network, (x, labels), rows = noise_network(weights), start(name), []
    for scale in track(sorted(scales), "measuring"):
        images = to_bytes(guided_sample(network, x.clone(), labels, scale, NULL, schedule(), times()))
        rows.append({"scale": float(scale), **point(images, labels), "images": images})
        print(f"scale {scale:g}", *(f"{kind} {rows[-1][kind]:.3f}" for kind in MEASURES), sep="   ")
    return rows


def save(file, rows):
    """Write what is handed in: the scales and the images. The measurements are made again when your work is graded."""
    scales = torch.tensor([row["scale"] for row in rows], dtype=torch.float64)
    save_file({"scales": scales, "images": torch.stack([row["images"] for row in rows])}, file)


def picture(plt, rows):
    """The three curves."""
    _, axes = plt.subplots(1, 3, figsize=(10, 2.8))
    for panel, name in zip(axes, MEASURES):
        panel.plot([row["scale"] for row in rows], [row[name] for row in rows], "o-")
        panel.set(title=name, xlabel="scale")
    plt.tight_layout()
    plt.show()


def show(plt, rows, scales):
    """One image of each class at the scales of the curve that are nearest to these, each column from the same noise."""
    rows = [min(rows, key=lambda row: abs(row["scale"] - scale)) for scale in scales]
    _, axes = plt.subplots(len(rows), 10, figsize=(10, 1.15 * len(rows)))
    for number, (panels, row) in enumerate(zip(axes, rows)):
        for panel, image, name in zip(panels, to_unit(row["images"]), NAMES):
            panel.imshow((image.permute(1, 2, 0) + 1) / 2)
            panel.set(xticks=[], yticks=[], title="" if number else name)
        panels[0].set_ylabel(f"s = {row['scale']:g}")
    plt.tight_layout()
    plt.show()
