"""Count the book's labelled equations, run every check, perturb every claim, and fail where something is unchecked, false or unnoticed.

`-v` prints the processor time of each check, `--all` tries every perturbation instead of a few of each kind, and words in the arguments
choose the equations whose label has one of them.
"""

import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "book" / "_ext")]

from equations import Check, book_checks, book_equations, report
from exercises import answer_problems
from perturbations import MOST, Verdict, verdict


def failure(check: Check, verbose: bool) -> str | None:
    """Run one check; the reason why it does not hold, or None."""
    start = time.process_time()
    try:
        check.function()
    except Exception as error:  # whatever stops a proof, the equation is not proved
        return f"{check.name} ({', '.join(check.labels)}) does not hold: {type(error).__name__}: {error}"
    if verbose:
        print(f"{time.process_time() - start:7.2f} s  {check.name}  {', '.join(check.labels)}")
    return None


def perturbed(check: Check, most: int, verbose: bool) -> list[Verdict]:
    """Perturb each claim of a check."""
    start = time.process_time()
    verdicts = [verdict(check, label, most) for label in check.labels]
    if verbose:
        print(f"{time.process_time() - start:7.2f} s  {check.name}  {sum(len(v.killed) for v in verdicts)} killed")
        for survivor in (survivor for v in verdicts for survivor in v.survived):
            print(f"           survived: {survivor}")
    return verdicts


def main() -> int:
    """Print the counts and what is wrong; 0 only where every equation is checked and every perturbation is noticed."""
    options = {word for word in sys.argv[1:] if word.startswith("-")}
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    checks, verbose, most = book_checks(), "-v" in options, 10**6 if "--all" in options else MOST
    found = report(book_equations(), checks)
    chosen = [
        check
        for check in checks
        if check.runs and (not words or any(word in label for word in words for label in check.labels))
    ]
    failures = [failure(check, verbose) for check in chosen]
    verdicts = [each for check in chosen for each in perturbed(check, most, verbose)]
    problems = [*found.errors, *(reason for reason in failures if reason), *answer_problems(checks)]
    problems += [f"{e.page}: {e.label} has no check: {' '.join(e.tex.split())[:70]}" for e in found.unchecked]
    problems += [each.problem for each in verdicts if each.problem]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    killed, survived = (sum(len(getattr(v, word)) for v in verdicts) for word in ("killed", "survived"))
    print(found)
    print(
        f"{killed + survived} perturbations of {len(verdicts)} claimed equations and answers: {killed} killed, {survived} survived"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
