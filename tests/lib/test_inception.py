"""The papers' measures through torchmetrics, offline: with stand-in networks they must equal our own formulas."""

import math
import sys
import urllib.error

import pytest
import torch
from torch import Tensor, nn

from course_lib.evaluation.classes import classifier_score
from course_lib.evaluation.frechet import frechet_distance
from course_lib.evaluation.inception import clip_score, in_colour, inception_metrics
from course_lib.evaluation.kernel import kernel_distance


class Projection(nn.Module):
    """Stands in for Inception-v3: fixed random projections of the pixels."""

    def __init__(self, size: int, out: int) -> None:
        super().__init__()
        weight = torch.randn(3 * size * size, out, generator=torch.Generator().manual_seed(0))
        self.weight = nn.Parameter(weight / (3 * size * size) ** 0.5, requires_grad=False)
        self.num_features = out

    def forward(self, images: Tensor) -> Tensor:
        assert images.dtype == torch.uint8 and images.shape[1] == 3
        return images.float().flatten(1) / 64 @ self.weight


def images(n: int, seed: int, channels: int = 3) -> Tensor:
    high = 256 - 40 * seed
    return torch.randint(0, high, (n, channels, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_our_formulas_agree_with_torchmetrics_on_the_same_features() -> None:
    real, generated, network = images(250, 0), images(250, 1), Projection(8, 6)
    found = inception_metrics(real, generated, network, network)
    a, b = network(real).double(), network(generated).double()
    assert math.isclose(found.fid, frechet_distance(a, b), rel_tol=1e-3)
    assert math.isclose(found.kid, kernel_distance(a, b), rel_tol=1e-3)
    assert math.isclose(found.inception_score, classifier_score(b.log_softmax(-1)), rel_tol=1e-3)


def test_grey_images_and_floats_mean_what_their_bytes_in_colour_mean() -> None:
    grey = images(120, 1, channels=1)
    coloured = torch.cat(list(in_colour(grey, 50)))
    assert torch.equal(coloured, grey.repeat(1, 3, 1, 1))
    assert torch.equal(torch.cat(list(in_colour(grey / 127.5 - 1, 50))), coloured)


class Clip(nn.Module):
    """Stands in for CLIP: an image's vector is its mean colour, a text's is the colour that it names."""

    device = torch.device("cpu")
    config = type("Config", (), {"text_config": type("Text", (), {"max_position_embeddings": 77})})

    def get_image_features(self, pixels: Tensor) -> Tensor:
        return pixels

    def get_text_features(self, ids: Tensor, mask: Tensor) -> Tensor:
        return torch.eye(3)[ids[:, 0]]


def processor(text=None, images=None, **options):
    if images is not None:
        return {"pixel_values": torch.stack([torch.as_tensor(image).float().mean((1, 2)) for image in images])}
    ids = torch.tensor([[["red", "green", "blue"].index(word)] for word in text])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def test_clip_score_is_a_hundred_times_the_cosine_of_each_image_and_its_prompt() -> None:
    red = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    red[:, 0] = 200
    both = torch.cat([red, red + torch.tensor([0, 200, 0], dtype=torch.uint8)[:, None, None]])
    score = clip_score(both, ["red", "green"], lambda: (Clip(), processor))
    assert math.isclose(score, 100 * (1 + 0.5**0.5) / 2, rel_tol=1e-5)


def test_missing_networks_give_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*arguments, **options):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torchmetrics.image.fid._TORCH_FIDELITY_AVAILABLE", False)
    with pytest.raises(
        ValueError, match=r"Inception-v3 is not at hand \(ModuleNotFoundError.*pip install torchmetrics torch-fid"
    ):
        inception_metrics(images(4, 0), images(4, 1))
    monkeypatch.setattr("torchmetrics.image.fid._TORCH_FIDELITY_AVAILABLE", True)
    monkeypatch.setattr("torchmetrics.image.fid.NoTrainInceptionV3", no_network)
    with pytest.raises(ValueError, match=r"Inception-v3 is not at hand \(URLError.*course_lib.evaluation needs none"):
        inception_metrics(images(4, 0), images(4, 1))
    with pytest.raises(ValueError, match="CLIP network openai/clip-vit-base-patch16 is not at hand"):
        monkeypatch.setitem(sys.modules, "transformers", None)
        clip_score(images(1, 0), ["a red square"])


def test_sets_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match="at least two images; got 1 and 4"):
        inception_metrics(images(1, 0), images(4, 1))
    with pytest.raises(ValueError, match="got 2 images and 1 prompts"):
        clip_score(images(2, 0), ["red"])
