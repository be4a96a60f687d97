"""The workflows publish only what was tested, and the rule for a commit's subject is the same at home and on CI."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS: dict[str, dict[Any, Any]] = {
    path.stem: yaml.safe_load(path.read_text()) for path in sorted(ROOT.glob(".github/workflows/*.yml"))
}
TESTS = "./.github/workflows/test.yml"
ON = True  # what YAML makes of the key `on`


def needed(jobs: dict[str, Any], name: str) -> set[str]:
    """The jobs that must have passed before this one begins."""
    direct = jobs[name].get("needs", [])
    names = {direct} if isinstance(direct, str) else set(direct)
    return names.union(*(needed(jobs, other) for other in names))


def writes(workflow: dict[Any, Any], job: dict[str, Any]) -> bool:
    """Whether a job may write to the repository, to its branches and its releases."""
    return job.get("permissions", workflow["permissions"]).get("contents") == "write"


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_have_triggers_and_steps(name: str) -> None:
    assert WORKFLOWS[name][ON]
    for job in WORKFLOWS[name]["jobs"].values():
        if "uses" not in job:
            assert job["steps"][0]["uses"].startswith("actions/checkout@")
            assert all(("uses" in step) != ("run" in step) for step in job["steps"])


def test_whatever_is_published_has_passed_the_tests() -> None:
    publishing = []
    for name, workflow in WORKFLOWS.items():
        jobs = workflow["jobs"]
        for job in (job for job in jobs if writes(workflow, jobs[job])):
            publishing.append(name)
            assert any(jobs[other].get("uses") == TESTS for other in needed(jobs, job)), f"{name}: {job} needs no tests"
            assert "if" not in jobs[job], f"{name}: {job} has a condition, with which it may run after failed tests"
    assert publishing == ["publish", "release"]


def test_the_tests_can_be_called_and_run_everything() -> None:
    assert {"pull_request", "workflow_call"} <= set(WORKFLOWS["test"][ON])
    steps = WORKFLOWS["test"]["jobs"]["test"]["steps"]
    assert "make test" in [step.get("run") for step in steps]
    assert not [step for step in steps if step.get("continue-on-error")]


def test_main_and_tags_are_tested_and_published() -> None:
    assert WORKFLOWS["publish"][ON]["push"] == {"branches": ["main"]}
    assert WORKFLOWS["release"][ON] == {"push": {"tags": ["v*"]}}


SUBJECTS = [
    ("x" * 72, True),
    ("é" * 72 + "\n\n" + "a long line of the body " * 9, True),
    ("x" * 73, False),
    ("é" * 73, False),
]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository with the project's hooks and one commit, at origin/main."""
    for variable, value in {"NAME": "Ada", "EMAIL": "ada@example.org"}.items():
        monkeypatch.setenv(f"GIT_AUTHOR_{variable}", value)
        monkeypatch.setenv(f"GIT_COMMITTER_{variable}", value)
    monkeypatch.setenv("PRE_COMMIT_HOME", str(tmp_path / "pre-commit"))
    folder = tmp_path / "repository"
    folder.mkdir()
    shutil.copy(ROOT / ".pre-commit-config.yaml", folder)
    for command in (
        ["init", "--quiet"],
        ["add", "."],
        ["commit", "-qm", "Begin"],
        ["update-ref", "refs/remotes/origin/main", "HEAD"],
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def test_the_hook_and_the_job_refuse_a_subject_of_more_than_72_characters(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_BASE_REF", "main")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    (job,) = [step["run"] for step in WORKFLOWS["test"]["jobs"]["subjects"]["steps"] if "run" in step]
    hook = [sys.executable, "-m", "pre_commit", "run", "--hook-stage", "commit-msg", "--commit-msg-filename", "message"]
    for text, accepted in SUBJECTS:
        (repository / "message").write_text(text + "\n")
        done = subprocess.run(hook, cwd=repository, capture_output=True, text=True, check=False)
        assert "72 characters" in done.stdout
        assert (done.returncode == 0) == accepted, done.stdout
        subprocess.run(["git", "commit", "--quiet", "--allow-empty", "--file", "message"], cwd=repository, check=True)
        done = subprocess.run(["bash", "-e", "-c", job], cwd=repository, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == accepted, done.stdout
        subprocess.run(["git", "reset", "--quiet", "--hard", "origin/main"], cwd=repository, check=True)
