"""Draw the pictures of the home page with the models that come with the book: book/_static/hero.png and card.png.

.venv/bin/python tools/draw_samples.py

Each model draws one batch from a fixed seed. The hero shows two of each, chosen for their clearness, on their way out of the noise; the
card, which is what others see when somebody shares the book, shows the rest as they came. Another processor may change a pixel.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.models import store
from course_lib.nets.conditions import null_of
from course_lib.pages.plotting import as_pictures
from course_lib.sampling.guidance import classifier_free
from course_lib.sampling.ode import dpm_solver
from course_lib.sampling.steps import sample

FOLDER = ROOT / "book" / "_static"
STEPS, COLUMNS, SIDE, GAP, SCALE = 25, 12, 32, 2, 3
# of each model: the labels of its batch, the scale of guidance, and which of the batch go to the hero
BATCHES = {
    "mnist-cfg": ([0, 2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 5], 1.5, (2, 5)),
    "fashion-cfg": ([0, 1, 2, 3, 5, 7, 8, 9, 7, 9, 8, 1], 2.0, (7, 10)),
    "cifar10-cfg": ([0, 1, 1, 7, 7, 8, 8, 9, 9, 2, 4, 6, 0, 5, 7, 8], 3.0, (4, 8)),
}


@torch.no_grad()
def states(name: str) -> tuple[list[Tensor], Tensor]:
    """All states of a batch on its way from noise to pictures, and the share of the variance that is signal at each."""
    labels, scale, _ = BATCHES[name]
    model, _ = store.load_denoising(name)
    cond, nothing = torch.tensor(labels), null_of(model.takes, len(labels))
    assert nothing is not None
    denoise = classifier_free(model.network, model.prediction, model.schedule, cond, nothing, scale, clip=1.0)
    noise = GaussianDiffusion(model.schedule).prior((len(labels), *model.shape), torch.Generator().manual_seed(0))
    times = model.schedule.grid(STEPS)
    found = [noise, *sample(dpm_solver(denoise, model.schedule), noise, times)]
    return found[-len(times) :], model.schedule.signal(times) ** 2


def tile(image: Tensor) -> np.ndarray:
    """One image in colour on a clear ground, `(SIDE, SIDE, 4)` uint8; a smaller one in its middle."""
    picture = as_pictures(image[None])[0]
    colours = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
    frame = (SIDE - len(picture)) // 2
    return np.pad(
        np.dstack([colours, np.full(picture.shape[:2], 255, np.uint8)]), ((frame, frame), (frame, frame), (0, 0))
    )


def sheet(rows: list[list[np.ndarray]]) -> Image.Image:
    """Rows of tiles with clear gaps between them."""
    step = SIDE + GAP
    paper = np.zeros((len(rows) * step - GAP, len(rows[0]) * step - GAP, 4), np.uint8)
    for r, row in enumerate(rows):
        for c, one in enumerate(row):
            paper[r * step : r * step + SIDE, c * step : c * step + SIDE] = one
    picture = Image.fromarray(paper)
    return picture.resize((picture.width * SCALE, picture.height * SCALE), Image.Resampling.NEAREST)


def main() -> None:
    """Draw, and write both."""
    hero, finished = [], []
    for name, (_, _, chosen) in BATCHES.items():
        path, share = states(name)
        wanted = 1 - (1 - torch.linspace(0, 1, COLUMNS)) ** 2  # more columns where little noise is left
        columns = [int((share - at).abs().argmin()) for at in wanted]
        hero += [[tile(path[column][number]) for column in columns] for number in chosen]
        finished.append([tile(image) for image in path[-1][:9]])
    FOLDER.mkdir(parents=True, exist_ok=True)
    sheet(hero).save(FOLDER / "hero.png", optimize=True)
    ground = Image.new("RGB", (1200, 630), (13, 33, 55))
    rows = sheet(finished)
    rows = rows.resize((1128, round(1128 * rows.height / rows.width)), Image.Resampling.LANCZOS)
    ground.paste(rows, (36, (630 - rows.height) // 2), rows)
    ground.save(FOLDER / "card.png", optimize=True)


if __name__ == "__main__":
    main()
