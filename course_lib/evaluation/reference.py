"""What real images look like to a classifier: the shipped features that samples are compared with, so that no data is needed."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from course_lib import hardware
from course_lib.data import sets
from course_lib.evaluation.features import Features, features
from course_lib.evaluation.frechet import Moments, moments
from course_lib.models import store
from course_lib.models.tensors import load_tensors, save_tensors

CLASSIFIERS = {"mnist": "mnist-classifier", "fashion_mnist": "fashion-classifier", "cifar10": "cifar10-classifier"}
ROWS = 5000  # of each split; the moments are those of the whole training set


@dataclass(frozen=True)
class Reference:
    """Features of real images by one classifier, named by the SHA-256 of its weights."""

    classifier: str  # SHA-256
    train: Moments  # of all training images
    train_vectors: Tensor  # (ROWS, d) of the first training images, float64
    test: Features  # of the first ROWS test images: what a perfect model's samples would look like


def build_reference(name: str, folder: Path = store.SHIPPED) -> Path:
    """Compute the reference of a data set with the classifier in a folder, and write it beside it."""
    network, card = store.load(folder / f"{CLASSIFIERS[name]}.safetensors", hardware.device())
    train, test = (features(network, sets.load(name, split)[0]) for split in ("train", "test"))  # type: ignore[arg-type]
    mean, covariance = moments(train.vectors)
    tensors = {
        "train_mean": mean,
        "train_covariance": covariance,
        "train_vectors": train.vectors[:ROWS].half(),
        "test_vectors": test.vectors[:ROWS].half(),
        "test_log_probs": test.log_probs[:ROWS].float(),
    }
    path = folder / f"{CLASSIFIERS[name]}-reference.safetensors"
    save_tensors(path, tensors, {"classifier": card.sha256})
    return path


def load_reference(name: str) -> Reference:
    """The shipped reference of a data set; raises ValueError where it is missing or damaged."""
    tensors, metadata = load_tensors(store.shipped(f"{CLASSIFIERS[name]}-reference.safetensors"))
    full = {key: tensor.double() for key, tensor in tensors.items()}
    return Reference(
        metadata["classifier"],
        Moments(full["train_mean"], full["train_covariance"]),
        full["train_vectors"],
        Features(full["test_vectors"], full["test_log_probs"]),
    )


def check_classifier(reference: Reference, sha256: str) -> None:
    """Raise a ValueError unless the reference was made with these weights: features of two networks cannot be compared."""
    if reference.classifier != sha256:
        raise ValueError(
            "the reference features were made with another classifier than the one that is here: run build_reference again"
        )
