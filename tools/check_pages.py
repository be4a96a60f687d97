"""The part of `make check` that looks at pages: their labels, their proofs, the modules beside them and, where asked, their cells."""

import importlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from equations import Check, book_equations, checks_in, report
from imports import cells_of, imported_modules, module_files
from pages import page_file, page_names
from tools.equations import failure
from tools.reach import count


@dataclass
class Outcome:
    """What was good, what failed, and what was left out, in words."""

    good: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def count(self, words: str, good: bool) -> None:
        """Count one check."""
        (self.good if good else self.failed).append(words)

    def check(self, words: str, problems: list[str]) -> None:
        """Count one check that names its problems, and print these."""
        for problem in problems:
            print(f"error: {problem}", file=sys.stderr, flush=True)
        self.count(words, not problems)


def run(root: Path, *command: str, folder: Path | None = None, code: str | None = None) -> bool:
    """Run a command of this Python, whose messages are shown; whether it succeeded."""
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": str(root), "MPLBACKEND": "agg"}
    sys.stdout.flush()  # before what the command prints
    done = subprocess.run(
        [sys.executable, *command], cwd=folder or root, env=environment, input=code, text=True, check=False
    )
    return done.returncode == 0


@dataclass
class PageChecks:
    """The checks of the pages that a change reaches, nearest first; what the deadline (of time.monotonic) overtakes is left out."""

    root: Path
    reached: dict[str, int]
    execute: bool
    deadline: float
    outcome: Outcome

    def run(self) -> None:
        """Check the labels and proofs of each folder, then the code of each page."""
        pages = {page: page_file(page, self.root) for page in page_names(self.root)}
        found = {page: distance for page in pages if (distance := self.page_distance(pages[page])) is not None}
        near = sorted(found, key=lambda page: found[page])
        if near:
            self.check_equations(pages, list(dict.fromkeys(pages[page].parent for page in near)))
            self.check_cells({page: pages[page] for page in near if cells_of(pages[page].read_text())})

    def distance(self, file: Path) -> int | None:
        """The distance of a file from the change; None where the change does not reach it."""
        return self.reached.get(str(file.relative_to(self.root)))

    def page_distance(self, page: Path) -> int | None:
        """The distance of a page or of the proofs beside it, whichever is less; None where the change reaches neither."""
        found = [self.distance(file) for file in (page, page.with_name("checks.py"))]
        return min((distance for distance in found if distance is not None), default=None)

    def check_equations(self, pages: dict[str, Path], folders: list[Path]) -> None:
        """Compare the labels of the folders' pages with their checks, and run the proofs that the change reaches."""
        equations, problems, proofs = book_equations(self.root), [], []
        for folder in folders:
            try:
                checks = checks_in(folder / "checks.py")
            except Exception as error:  # whatever a module raises when it is imported, its proofs do not run
                problems.append(f"{folder.name}/checks.py: {type(error).__name__}: {error}")
                continue
            found = report([e for e in equations if pages[e.page].parent == folder], checks)
            problems += [*found.errors, *(f"{e.page}: {e.label} has no check" for e in found.unchecked)]
            if self.distance(folder / "checks.py") is not None:
                proofs += [check for check in checks if check.kind == "proves"]
        self.outcome.check(f"labels of {count(len(folders), 'folder')} of pages", problems)
        self.run_proofs(proofs)

    def run_proofs(self, proofs: list[Check]) -> None:
        """Run the proofs, as far as the time goes."""
        failures, done = [], 0
        for check in proofs:
            if time.monotonic() > self.deadline:
                folders = ", ".join(dict.fromkeys(check.file.parent.name for check in proofs[done:]))
                self.outcome.left.append(f"{count(len(proofs) - done, 'proof')} in {folders}")
                break
            failures += [reason] if (reason := failure(check, verbose=False)) else []
            done += 1
        if done:
            self.outcome.check(count(done, "proof"), failures)

    def check_cells(self, pages: dict[str, Path]) -> None:
        """Import the reached modules beside the pages; run the cells of a page if it or these changed, or if asked to."""
        helpers = {page: own_modules(file) for page, file in pages.items()}
        reached = sorted({file for files in helpers.values() for file in files if self.distance(file) is not None})
        if reached:
            problems = [problem for file in reached for problem in import_error(file)]
            self.outcome.check(f"import of {count(len(reached), 'module')} beside pages", problems)
        left = []
        for page, file in pages.items():
            changed = 0 in [self.distance(part) for part in (file, *helpers[page])]
            if (self.execute or changed) and time.monotonic() < self.deadline:
                self.outcome.count(f"cells of {page}", execute_cells(file, self.root))
            else:
                left.append(page)
        if left:
            self.outcome.left.append(f"the cells of {', '.join(left)} (run by `make book`, or here with --pages)")


def own_modules(page: Path) -> list[Path]:
    """The modules in a page's folder that its cells import, such as figures.py."""
    names = {name for cell in cells_of(page.read_text()) for name in imported_modules(cell)}
    return sorted({file for name in names for file in module_files(name, [page.parent])})


def import_error(file: Path) -> list[str]:
    """Import a module that lies beside a page, under its own name; why it cannot be imported, if so."""
    before = set(sys.modules)
    sys.path.insert(0, str(file.parent))
    try:
        importlib.import_module(file.stem)
    except Exception as error:  # whatever a module raises, the page cannot use it
        return [f"{file.parent.name}/{file.name}: {type(error).__name__}: {error}"]
    finally:
        sys.path.remove(str(file.parent))
        for name in set(sys.modules) - before:  # the next page has a figures.py of its own
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(f"{file.parent}{os.sep}"):
                del sys.modules[name]
    return []


def execute_cells(page: Path, root: Path) -> bool:
    """Run a page's cells one after the other in a fresh process; whether they came to their end."""
    return run(root, "-", folder=page.parent, code="\n".join(cells_of(page.read_text())))
