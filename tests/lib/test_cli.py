"""The command `course`, as a user types it."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from course import doctor
from course.cli import app
from course_lib.models import store
from course_lib.models.cards import load_card
from course_lib.nets.unet import UNet

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three steps, trained by the command."""
    out = tmp_path_factory.mktemp("runs") / "digits"
    done = RUNNER.invoke(app, ["train", "digits-ddpm", "--out", str(out), "--steps", "3", "--batch-size", "8"])
    assert done.exit_code == 0, done.output
    assert "3 steps, 24 images" in done.output.replace("\n", " ")
    return out


def test_sampling_is_fixed_by_its_seed(model: Path, tmp_path: Path) -> None:
    pictures = []
    for seed, sampler in ((0, "ddim"), (0, "ddim"), (1, "ddim"), (0, "ddpm")):
        out = tmp_path / f"{len(pictures)}.png"
        options = ["--n", "5", "--steps", "4", "--sampler", sampler, "--seed", str(seed), "--out", str(out)]
        done = RUNNER.invoke(app, ["sample", str(model), *options])
        assert done.exit_code == 0, done.output
        pictures.append(out.read_bytes())
    assert pictures[0] == pictures[1]
    assert len(set(pictures)) == 3


@pytest.fixture(scope="module")
def with_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with three classes and random weights."""
    torch.manual_seed(0)
    network = UNet(width=8, multipliers=(1,), attention=(), classes=3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.2 * torch.randn(parameter.shape)
    card = load_card(store.SHIPPED / "mnist-ddpm.json")
    path = tmp_path_factory.mktemp("classes") / "model.safetensors"
    changes = {"config": network.config, "image_shape": [1, 8, 8]}
    store.save(path, network, dataclasses.replace(card, **changes))
    return path


def test_a_label_and_a_scale_change_what_is_drawn(with_classes: Path, tmp_path: Path) -> None:
    pictures = set()
    for n, options in enumerate(([], ["--label", "0"], ["--label", "1"], ["--label", "1", "--scale", "3"])):
        out = tmp_path / f"{n}.png"
        done = RUNNER.invoke(
            app, ["sample", str(with_classes), "--n", "6", "--steps", "3", *options, "--out", str(out)]
        )
        assert done.exit_code == 0, done.output
        pictures.add(out.read_bytes())
    assert len(pictures) == 4
    done = RUNNER.invoke(app, ["sample", str(with_classes), "--label", "3", "--steps", "1"])
    assert done.exit_code == 1 and "label must lie in [0, 2]; got 3" in done.output


def test_evaluate_writes_an_entry_that_the_ledger_prints(tmp_path: Path) -> None:
    out = tmp_path / "results/quick.json"
    done = RUNNER.invoke(app, ["evaluate", "mnist-ddpm", "--n", "100", "--steps", "1", "--out", str(out)])
    assert done.exit_code == 0, done.output
    entry = json.loads(out.read_text())
    assert entry["model"] == "mnist-ddpm" and entry["options"]["n"] == 100
    listed = RUNNER.invoke(app, ["ledger", str(out.parent)])
    assert f"{entry['metrics']['frechet distance']['value']:.4g}" in listed.output
    assert "recall" in listed.output and "95 % interval" in listed.output


def test_the_ledger_prints_our_own_results_with_and_without_intervals() -> None:
    folder = store.SHIPPED.parent / "results"
    done = RUNNER.invoke(app, ["ledger", str(folder)])
    assert done.exit_code == 0, done.output
    for file in folder.glob("*.json"):
        assert json.loads(file.read_text())["model"] in done.output
    assert "GFLOP" in done.output and "95 % interval" in done.output


def test_brackets_in_results_are_no_markup(tmp_path: Path) -> None:
    entry = {"model": "[/red]", "options": {"a": "[bold]"}, "metrics": {"[x]": {"value": 1, "low": 0, "high": 2}}}
    (tmp_path / "a.json").write_text(json.dumps(entry))
    done = RUNNER.invoke(app, ["ledger", str(tmp_path)])
    assert done.exit_code == 0 and all(text in done.output for text in ("[/red]", "[bold]", "[x]", "[0, 2]"))


def test_a_folder_without_results_says_so(tmp_path: Path) -> None:
    done = RUNNER.invoke(app, ["ledger", str(tmp_path)])
    assert done.exit_code == 0 and "no results in" in done.output


def test_a_picture_s_missing_folder_is_made(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder" / "picture"
    done = RUNNER.invoke(app, ["sample", str(model), "--n", "1", "--steps", "1", "--out", str(out)])
    assert done.exit_code == 0 and out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "minst-ddpm", "--out", "x"], "did you mean 'mnist-ddpm'"),
        (["sample", "nowhere"], "neither a folder nor a file nor a shipped model"),
        (["sample", "MODEL", "--steps", "2000"], "steps must be at most 1000"),
        (["sample", "MODEL", "--label", "3"], "was trained without classes: it cannot draw label 3"),
        (["sample", "mnist-classifier"], "is a classifier, which draws nothing"),
        (["evaluate", "MODEL"], "draws what none of the classifiers knows"),
        (["evaluate", "mnist-ddpm", "--n", "9999"], "n must lie in [100, 5000]"),
        (["train", "digits-ddpm", "--out", "MODEL"], "already holds a run: resume it (--resume)"),
        (["train", "digits-ddpm", "--out", "MODEL", "--resume", "--seed", "7"], "seed was 0 and is now 7"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_one(model: Path, arguments: list[str], message: str) -> None:
    done = RUNNER.invoke(app, [str(model) if a == "MODEL" else a for a in arguments])
    assert done.exit_code == 1
    assert message in done.output
    assert "Traceback" not in done.output
    assert done.output.count("error:") == 1


@pytest.mark.parametrize("command", ["sample", "evaluate"])
def test_a_folder_in_place_of_a_file_is_refused_before_anything_is_drawn(
    command: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "course_lib.sampling.generate.draw_batches", lambda *arguments, **options: pytest.fail("it drew")
    )
    done = RUNNER.invoke(app, [command, str(model), "--out", str(tmp_path)])
    assert done.exit_code == 2 and "directory" in done.output


def test_doctor_shows_each_row_and_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    done = RUNNER.invoke(app, ["doctor"])
    assert done.exit_code == 0, done.output
    for row in (
        "Python",
        "PyTorch",
        "device",
        "threads",
        "bf16",
        "mnist",
        "fashion_mnist",
        "cifar10",
        "bubblewrap",
        "free disk",
    ):
        assert row in done.output
    assert "set COURSE_DATA_DIR" in done.output


def test_doctor_fails_with_the_remedy_where_something_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "FREE_GIB_NEEDED", 1e9)
    done = RUNNER.invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "free some space" in done.output


def test_doctor_starts_a_sandbox_where_it_is_asked_about_grading(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.grading() == doctor.Finding("ok", "grading", "a sandbox starts, and runs code")
    monkeypatch.setattr("shutil.which", lambda program: None)
    done = RUNNER.invoke(app, ["doctor", "--grading"])
    assert done.exit_code == 1 and "grading: install your system's bubblewrap package" in done.output


@pytest.mark.parametrize(
    ("complaint", "says"),
    [
        ("bwrap: No permissions to create new namespace, likely because the kernel does not allow", "AppArmor profile"),
        ("bwrap: setting up uid map: Permission denied", "AppArmor profile"),
        ("bwrap: Can't mount proc on /newroot/proc: Operation not permitted", "--cap-add SYS_ADMIN"),
        ("OSError: libseccomp is not installed, and without it nothing is graded", "apt install libseccomp2"),
        ("ModuleNotFoundError: No module named 'sympy'", "pip install"),
        ("something else", "the guide for instructors"),
    ],
)
def test_what_a_sandbox_says_that_does_not_start_has_a_remedy(complaint: str, says: str) -> None:
    assert says in doctor.remedy(complaint)


def test_a_python_where_a_sandbox_hides_it_grades_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.base_prefix", "/tmp/python")
    found = doctor.grading()
    assert found.state == "missing" and "install Python outside of /tmp" in found.remedy


def test_doctor_reports_a_missing_sandbox_without_failing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda program: None)
    assert doctor.bubblewrap().state == "optional"
    assert "apt install bubblewrap" in doctor.bubblewrap().remedy
