"""Files that are handed in beside a notebook: what they may hold, and that a bad one costs its own tests and nothing else."""

import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from autograder.assignment.check import check
from autograder.assignment.library import build_course
from autograder.assignment.source import build, read_assignment, to_bytes
from autograder.assignment.submission import read_submission
from autograder.grading import mutants
from autograder.grading.one import Result
from autograder.sandbox.outside import Sandbox
from autograder.testing.answers import Wrong
from autograder.testing.suite import Files, given

A03 = read_assignment("a03")
FILE = "experiment.safetensors"
WHOLE = A03.reference[FILE]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(build_course(A03.course["withheld"], tmp_path_factory.mktemp("a03")), given=A03.given) as running:
        yield running


def changed(change) -> bytes:
    """The reference's file after a change to its tensors."""
    tensors = load(WHOLE)
    return save(change(tensors) or tensors)


def header(entry: object) -> bytes:
    """A safetensors file that is all header."""
    text = json.dumps({"linear.losses": entry}).encode()
    return len(text).to_bytes(8, "little") + text


HOSTILE = {
    "pickle": (pickle.dumps({"linear.losses": [1.0]}), "the block of numbers is malformed"),
    "torch.save": (b"PK\x03\x04" + bytes(100), "the block of numbers is malformed"),
    "huge shape": (header({"dtype": "F32", "shape": [1 << 60], "data_offsets": [0, 4]}), "of an impossible shape"),
    "lying offsets": (header({"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}), "the block of numbers is malformed"),
    "unknown kind": (header({"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}), "of an unknown kind"),
    "NaN": (changed(lambda t: {**t, "mine.losses": torch.full((30,), torch.nan)}), "holds NaN or infinity"),
    "other shapes": (changed(lambda t: {**t, "linear.network.first.weight": torch.zeros(3, 3)}), "lacks linear.network.first.weight"),
    "empty": (b"", "lacks linear.network."),
    "forged distances": (changed(lambda t: {**t, "linear.distances": torch.tensor([0.1, 0.1, 0.1])}), "are not what its network gives"),
    "forged losses": (changed(lambda t: {**t, "mine.losses": t["mine.losses"] / 2}), "is not the loss of its network"),
    "untrained": (changed(lambda t: {k: v if "network" not in k else 0 * v for k, v in t.items()}), "it learned nothing"),
    "half trained": (changed(lambda t: {k: v if "network" not in k else 0.95 * v for k, v in t.items()}), "draws digits at a distance of"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_bad_file_costs_its_own_tests_only(name: str, box: Sandbox) -> None:
    content, says = HOSTILE[name]
    result = mutants.grade_notebook(A03, A03.solved(), box, {FILE: content})
    failed = {test.task: test.message for test in result.tests if not test.passed}
    assert failed and failed.keys() <= {"experiment", "verdict"}
    assert any(says in test.message for test in result.tests), failed
    assert not any(test.review for test in result.tests)


def graded(box: Sandbox, folder: Path) -> Result:
    """The grade of a folder with the solved notebook and whatever lies beside it."""
    from autograder.grading.one import grade

    (folder / "topic.ipynb").write_bytes(to_bytes(A03.solved()))
    return grade(
        read_submission(folder / "topic.ipynb", A03.files, mutants.STUDENT), A03.suite, A03.name, box, mutants.SECRET
    )


def test_missing_linked_and_oversized_files_are_explained_and_never_followed(box: Sandbox, tmp_path: Path) -> None:
    reasons = {}
    secret = tmp_path / "secret"
    secret.write_bytes(WHOLE)
    for name in ("missing", "link", "pipe", "large"):
        folder = tmp_path / name
        folder.mkdir()
        if name == "link":
            (folder / FILE).symlink_to(secret)
        if name == "pipe":
            os.mkfifo(folder / FILE)
        if name == "large":
            (folder / FILE).write_bytes(WHOLE + bytes(4_000_000))
        result = graded(box, folder)
        assert result.score() == 66
        reasons[name] = next(test.message for test in result.tests if test.task == "experiment")
    assert "was not handed in" in reasons["missing"]
    assert "hand in the file itself, not a link" in reasons["link"]
    assert "no ordinary file" in reasons["pipe"]
    assert "is larger than 4 MB" in reasons["large"]


def test_metadata_in_a_file_is_allowed_and_unread() -> None:
    file = save({"a": torch.ones(2)}, metadata={"recipe": "mine"})
    assert torch.equal(Files({"f": file}, {}).tensors("f")["a"], torch.ones(2))
    with pytest.raises(Wrong, match="f was refused"):
        Files({}, {"f": "f was refused"}).tensors("f")


def test_cells_for_home_do_not_run_in_grading_nor_in_the_check(box: Sandbox, tmp_path: Path) -> None:
    build("a03", tmp_path)
    notebook = A03.solved()
    cell = next(cell for cell in notebook.cells if cell.id == "home_experiment")
    cell.source = "raise RuntimeError('this ran')"
    result = mutants.grade_notebook(A03, notebook, box, only=["test_linear"])
    assert result.cell_errors == [] and result.score() == 10
    release = tmp_path / "release" / A03.name
    (release / "topic.ipynb").write_bytes(to_bytes(notebook))
    found = {one.name: one for one in check("a03", release / "topic.ipynb")}
    assert found["verdict"].passed and not any("this ran" in one.message for one in found.values())
    assert not found[FILE].passed and "run the cell that writes it" in found[FILE].message
    (release / FILE).write_bytes(WHOLE)
    assert {one.name: one for one in check("a03", release / "topic.ipynb")}[FILE].passed


# --- a file that need not be handed in ----------------------------------------------------------------------------------------


def test_an_optional_file_may_be_missing_but_not_too_large(tmp_path: Path) -> None:
    build("a05", tmp_path)
    release = tmp_path / "release" / "a05_cifar_cfg"

    def files() -> dict[str, bool]:
        return {one.name: one.passed for one in check("a05", release / "topic.ipynb") if "." in one.name}

    assert files() == {"curve.safetensors": False}
    (release / "curve.safetensors").write_bytes(read_assignment("a05").reference["curve.safetensors"])
    (release / "network.safetensors").write_bytes(bytes(20_000_001))
    assert files() == {"curve.safetensors": True, "network.safetensors": False}


def test_weights_of_ones_own_are_written_as_they_are_handed_in(tmp_path: Path) -> None:
    guide = given("a05_cifar_cfg", "guide")
    written = guide.own_weights("cifar10-cfg", tmp_path / "network.safetensors")
    assert (tmp_path / "network.safetensors").stat().st_size <= read_assignment("a05").files["network.safetensors"]
    x, labels, t = torch.zeros(2, 3, 32, 32), torch.tensor([3, 10]), torch.tensor([500, 20])
    assert torch.equal(guide.noise_network(written)(x, t, labels), guide.noise_network()(x, t, labels))
    with pytest.raises(ValueError, match="mnist-cfg is not a run of `course train cifar10-cfg`"):
        guide.own_weights("mnist-cfg", tmp_path / "other.safetensors")
