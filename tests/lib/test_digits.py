"""The handwritten digits are scikit-learn's, and to have them costs no import of scikit-learn."""

import subprocess
import sys

import torch
from sklearn.datasets import load_digits

from course_lib.data import sets


def test_the_digits_are_those_of_scikit_learn() -> None:
    pixels, labels = load_digits(return_X_y=True)
    images, classes = sets.digits()
    assert torch.equal(images, torch.from_numpy(pixels).float().reshape(-1, 1, 8, 8) / 8 - 1)
    assert torch.equal(classes, torch.from_numpy(labels).long())


def test_reading_the_digits_does_not_import_scikit_learn() -> None:
    code = "import sys; from course_lib.data import sets; sets.digits(); sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
