"""Count the book's labelled equations, run every proof, and fail where an equation is unchecked or a proof does not hold."""

import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "book" / "_ext")]

from equations import Check, book_checks, book_equations, report


def failure(check: Check, verbose: bool) -> str | None:
    """Run one proof; the reason why it does not hold, or None."""
    start = time.perf_counter()
    try:
        check.function()
    except Exception as error:  # whatever stops a proof, the equation is not proved
        return f"{check.name} ({', '.join(check.labels)}) does not hold: {type(error).__name__}: {error}"
    if verbose:
        print(f"{time.perf_counter() - start:7.2f} s  {check.name}  {', '.join(check.labels)}")
    return None


def main() -> int:
    """Print the count and what is wrong; 0 only where every equation is checked and every proof holds. `-v` times the proofs."""
    checks = book_checks()
    found = report(book_equations(), checks)
    failures = [failure(check, "-v" in sys.argv) for check in checks if check.kind == "proves"]
    problems = [*found.errors, *(reason for reason in failures if reason)]
    problems += [f"{e.page}: {e.label} has no check: {' '.join(e.tex.split())[:70]}" for e in found.unchecked]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    print(found)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
