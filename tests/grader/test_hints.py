"""What grading lacks: it works all the same, or a sentence says what to do instead."""

from pathlib import Path

import pytest

from autograder.assignment.check import check
from autograder.assignment.source import build, read_assignment, to_bytes
from autograder.grading.mutants import cell_named
from autograder.sandbox.inside import hints
from autograder.sandbox.limits import Limits
from autograder.sandbox.outside import Sandbox
from autograder.testing import answers

QUICK = Limits(call_seconds=10, load_seconds=20, cpu_seconds=20, memory_bytes=1 << 30)


def said(sandbox: Sandbox, cell: str) -> str:
    """What a cell's error says, or "" where there is none."""
    child = sandbox.spawn(QUICK)
    try:
        (error,) = child.load([cell])
    finally:
        child.kill()
    return error["message"] if error else ""


@pytest.mark.parametrize(
    "cell",
    [
        "@torch.compile\ndef f(x): return x + 1",
        "@torch.compile(mode='max-autotune', fullgraph=True)\ndef f(x): return x + 1",
        "f = torch.compile(lambda x: x + 1, dynamic=True)",
        "class Net(torch.nn.Module):\n    def forward(self, x): return x + 1\nf = Net()\nf.compile()",
        "device = 'cuda' if torch.cuda.is_available() else 'cpu'\nf = lambda x: x.to(device) + 1",
        "from torch.utils.data import DataLoader\nf = lambda x: next(iter(DataLoader(x + 1, batch_size=3, num_workers=0)))",
    ],
    ids=["compile", "compile with options", "compile a lambda", "a module's compile", "a device", "a loader"],
)
def test_it_works(sandbox: Sandbox, cell: str) -> None:
    assert said(sandbox, f"import torch\n{cell}\nassert f(torch.zeros(3)).tolist() == [1, 1, 1]") == ""


@pytest.mark.parametrize(
    ("cell", "hint"),
    [
        ("torch.zeros(3).cuda()", hints.GPU),
        ("torch.nn.Linear(2, 2).to('cuda:0')", hints.GPU),
        ("torch.ones(2, device='cuda')", hints.GPU),
        ("import subprocess; subprocess.run(['ls'])", hints.PROCESSES),
        ("import multiprocessing; multiprocessing.Pool(2)", hints.PROCESSES),
        ("import multiprocessing as m; p = m.get_context('spawn').Process(target=print); p.start()", hints.PROCESSES),
        ("import os; os.fork()", hints.PROCESSES),
        ("from torch.utils.data import DataLoader; list(DataLoader(torch.zeros(9), num_workers=2))", hints.PROCESSES),
        ("from concurrent.futures import ProcessPoolExecutor as P; list(P(2).map(abs, [1]))", hints.PROCESSES),
        ("import urllib.request; urllib.request.urlopen('http://example.org')", hints.NETWORK),
        ("import socket; socket.create_connection(('1.1.1.1', 80), timeout=1)", hints.NETWORK),
        ("open('/usr/found', 'w')", hints.WRITING),
        ("open('/tmp/large', 'wb').write(bytes(100 << 20))", hints.SPACE),
        ("for n in range(9): open(f'/tmp/{n}', 'wb').write(bytes(20 << 20))", hints.SPACE),
    ],
)
def test_a_sentence_says_what_to_do(sandbox: Sandbox, cell: str, hint: str) -> None:
    message = said(sandbox, f"import torch\n{cell}")
    assert message and hint in message


def test_other_errors_get_no_sentence(sandbox: Sandbox) -> None:
    for cell in ("open('missing.csv')", "1 / 0", "raise PermissionError(1, 'no')", "raise OSError('odd')"):
        assert not any(hint in said(sandbox, cell) for hint in vars(hints).values() if type(hint) is str)


def test_check_says_the_same_at_home(tmp_path: Path) -> None:
    folder = build("a01", tmp_path)[0].parent
    notebook = read_assignment("a01").solved()
    cell = cell_named(notebook, "one_step")
    cell.source = f"@torch.compile\n{cell.source}"
    cell_named(notebook, "q_sample").source += "\ntorch.zeros(1).cuda()"
    (folder / "topic.ipynb").write_bytes(to_bytes(notebook))
    failed = {one.name: one.message for one in check("a01", folder / "topic.ipynb") if not one.passed}
    assert len(failed) == 1 and hints.GPU in failed.popitem()[1]


def test_hundreds_of_cells_that_fail_at_length_are_told(sandbox: Sandbox) -> None:
    """All of it together once was more than a message may hold, and the whole notebook was refused."""
    child = sandbox.spawn(QUICK)
    try:
        errors = child.load(
            [
                f"def deep(n): return deep(n - 1) if n else 1 / 0\nx = {n} * 'x'\nraise ValueError('y' * 9000)"
                for n in range(600)
            ]
        )
    finally:
        child.kill()
    assert len(errors) == 600 and all(error and error["kind"] == "ValueError" for error in errors)
    assert errors[0]["trace"] and not errors[-1]["trace"]


def test_an_example_can_show_any_answer() -> None:
    """A number that no float holds would otherwise make a test ask for a look."""
    assert answers.shown([10**400, -(10**400), 0.25]) == (
        "[a number that is far too large, a number that is far too large, 0.25]"
    )
