"""What the command shows: lines as they are, and tables. Texts from files and paths are escaped: brackets in them are no markup."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from torch import Tensor

    from course.doctor import Finding

console = Console()
MARKS = {"ok": "[green]ok[/]", "optional": "[yellow]--[/]", "missing": "[red]!![/]"}


def say(text: str) -> None:
    """Print a line as it is."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def say_error(text: str) -> None:
    """Print an error as one line on stderr."""
    line = " ".join(text.split())
    Console(stderr=True).print(f"[bold red]error:[/] {escape(line)}", highlight=False, soft_wrap=True)


def findings_table(findings: Iterable["Finding"]) -> Table:
    """What `course doctor` looked at, and what it found."""
    table = Table("", "what", "found", title="course doctor", title_justify="left")
    for finding in findings:
        table.add_row(MARKS[finding.state], escape(finding.what), escape(finding.found))
    return table


def metric_table(entry: dict[str, Any]) -> Table:
    """One entry of the ledger: each value, its interval, and the floor that real images set, as far as they were measured."""
    options = ", ".join(f"{key} {value}" for key, value in entry["options"].items())
    title = escape(f"{entry['model']}  {options}")
    table = Table("metric", "value", "95 % interval", "real images", title=title, title_justify="left")
    for name, found in entry["metrics"].items():
        interval = rf"\[{found['low']:.4g}, {found['high']:.4g}]" if {"low", "high"} <= found.keys() else ""
        floor = f"{found['floor']:.4g}" if "floor" in found else ""
        table.add_row(escape(name), f"{found['value']:.4g}", interval, floor)
    return table


def design_table(names: Iterable[str], wishes: Iterable[float], found: "Tensor", met: "Tensor") -> Table:
    """What was asked of designs, what they became, the middle one and all of them, ranks `(N, K)`, and how many are as asked, bool."""
    table = Table("rank among its kind", "asked", "drawn: median", "from", "to", "as asked")
    for k, (name, wish) in enumerate(zip(names, wishes, strict=True)):
        ranks = found[:, k]
        if wish >= 0 or float(ranks.min()) >= 0:
            cells = (f"{float(value):.2f}" for value in (ranks.median(), ranks.min(), ranks.max()))
            table.add_row(
                name,
                *(
                    ["open", *cells, ""]
                    if wish < 0
                    else [f"{wish:.2f}", *cells, f"{int(met[:, k].sum())} of {len(met)}"]
                ),
            )
    return table


def scene_table(found: "Mapping[str, Tensor]") -> Table:
    """How many pictures of a scene show what of it, `(N,)` each: 1, or 0; what the scene does not say, NaN, is left out."""
    table = Table("of what was asked", "pictures that show it")
    for name, shown in found.items():
        if not bool(shown.isnan().any()):
            table.add_row(name, f"{int(shown.sum())} of {len(shown)}")
    return table


def grades_table(title: str, rows: Iterable[tuple[str, str, str]]) -> Table:
    """Every student's points and remarks."""
    table = Table("student", "points", "remarks", title=escape(title), title_justify="left")
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def changes_table(title: str, rows: Iterable[tuple[str, str, str, str]]) -> Table:
    """The grades that would change: whose, the points before and now, and the tests that judge otherwise."""
    table = Table("student", "before", "now", "tests that judge otherwise", title=escape(title), title_justify="left")
    for row in rows:
        table.add_row(*map(escape, row))
    return table
