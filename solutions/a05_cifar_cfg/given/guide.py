"""What assignment 5 gives: a trained network, the measurement of a guided sampler, and pictures."""

import csv
from pathlib import Path

import torch
from rich.progress import track
from safetensors.torch import load_file, save_file

from course_lib.evaluation.classes import label_accuracy
from course_lib.evaluation.features import features
from course_lib.evaluation.frechet import frechet_distance
from course_lib.evaluation.reference import load_reference
from course_lib.hardware import bf16_is_fast
from course_lib.models import store
from course_lib.models.tensors import load_weights

NULL, N, STEPS, SEED, LARGEST = 10, 100, 20, 0, 20
COLUMNS = ("scale", "accuracy", "frechet", "diversity")
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def schedule():
    """alpha_bar (1001,) of the schedule that the network was trained with."""
    return store.load("cifar10-cfg")[1].build_schedule().alpha_bar


def times():
    """The times of the sampler, from 1000 to 0."""
    return torch.linspace(1000, 0, STEPS + 1, dtype=torch.float64).round().long()


def noise_network(weights=None):
    """The given network as a function (x_t, t, labels) to the noise; it was trained to predict v, from which the noise follows.

    With `weights` (tensors by name), the same network with other weights. Raises ValueError where they do not fit into it.
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
    save_file({name: value.bfloat16() for name, value in network.state_dict().items()}, file)
    return load_file(file)


def start(n=N, seed=SEED):
    """The noise (n, 3, 32, 32) and the labels (n,) that the sampler begins with."""
    return torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(seed)), torch.arange(n) % 10


def spread(vectors, labels):
    """The mean distance between two images of the same class, in the classifier's features."""
    means = []
    for label in range(10):
        rows = vectors[labels == label]
        means.append(torch.cdist(rows, rows).sum() / (len(rows) * (len(rows) - 1)))
    return float(torch.stack(means).mean())


def real_spread():
    """`spread` of as many real test images."""
    test = load_reference("cifar10").test
    labels = test.log_probs.argmax(1)
    rows = torch.cat([(labels == label).nonzero()[: N // 10, 0] for label in range(10)])
    return spread(test.vectors[rows], labels[rows])


def point(images, labels):
    """What the course's classifier of CIFAR-10 says of images: accuracy, Fréchet distance, diversity."""
    classifier, _ = store.load("cifar10-classifier")
    found = features(classifier, images.float().clamp(-1, 1))
    return {
        "accuracy": label_accuracy(found.log_probs, labels),
        "frechet": frechet_distance(load_reference("cifar10").train, found.vectors),
        "diversity": spread(found.vectors, labels) / real_spread(),
    }


def measure(guided_sample, scales, weights=None):
    """One row for each scale, with the given network or with your own weights. Raises ValueError for scales beyond 20."""
    if any(abs(scale) > LARGEST for scale in scales):
        raise ValueError(f"no scale may lie beyond {LARGEST}; got {scales}")
    network, (x, labels), rows = noise_network(weights), start(), []
    for scale in track(scales, "measuring"):
        images = guided_sample(network, x.clone(), labels, scale, NULL, schedule(), times())
        rows.append({"scale": float(scale), **point(images, labels)})
        print("   ".join(f"{name} {value:.3f}" for name, value in rows[-1].items()))
    return rows


def save(file, rows):
    """Write what is handed in."""
    with open(file, "w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows([{name: round(row[name], 5) for name in COLUMNS} for row in rows])


def picture(plt, rows):
    """The three curves."""
    _, axes = plt.subplots(1, 3, figsize=(10, 2.8))
    ordered = sorted(rows, key=lambda row: row["scale"])
    for panel, name in zip(axes, COLUMNS[1:]):
        panel.plot([row["scale"] for row in ordered], [row[name] for row in ordered], "o-")
        panel.set(title=name, xlabel="scale")
    plt.tight_layout()
    plt.show()


def show(plt, guided_sample, scales, weights=None):
    """One image of each class at some scales, from the same noise."""
    x, labels = start(10)
    rows = [
        guided_sample(noise_network(weights), x.clone(), labels, scale, NULL, schedule(), times()) for scale in scales
    ]
    _, axes = plt.subplots(len(rows), 10, figsize=(10, 1.15 * len(rows)))
    for row, (panels, images, scale) in enumerate(zip(axes, rows, scales)):
        for panel, image, name in zip(panels, images, NAMES):
            panel.imshow((image.float().permute(1, 2, 0).clamp(-1, 1) + 1) / 2)
            panel.set(xticks=[], yticks=[], title="" if row else name)
        panels[0].set_ylabel(f"s = {scale:g}")
    plt.tight_layout()
    plt.show()
