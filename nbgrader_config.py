"""The course as nbgrader sees it: `nbgrader` commands and the formgrader, started in this folder, read this file.

The running course lies in term/ (or $COURSE_TERM): submissions, autograded notebooks, feedback, gradebook, the course's secret.
Back that folder up. The assignments come from build/ (or $COURSE_BUILD), where `make assignments` writes them. The gradebook
is term/gradebook.db (SQLite), or what $COURSE_DATABASE says, such as postgresql+psycopg://user:password@host/course.
"""

import os
import sys
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))  # the packages beside this file


def configure(c: Any) -> None:
    """Everything that is set. What you add belongs in here too, so that a mistake in it cannot switch off the rest."""
    from autograder.exchange.collect import clean_all, read_times_safely
    from autograder.exchange.finished import finish_what_was_interrupted
    from autograder.exchange.formulas import formulas_here
    from autograder.grading.store import TERM, private

    read_times_safely()
    finish_what_was_interrupted()
    formulas_here()

    # nbgrader makes its database with the command alembic, which lies beside this Python.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])

    warnings.filterwarnings("ignore", module="nbgrader.api")  # it asks its database for what it is about to add

    c.CourseDirectory.course_id = "learning-to-denoise"
    c.CourseDirectory.root = str(ROOT)
    c.CourseDirectory.source_directory = str(Path(os.environ.get("COURSE_BUILD", ROOT / "build")).resolve() / "release")
    for step in ("release", "submitted", "autograded", "feedback", "solution"):
        setattr(c.CourseDirectory, f"{step}_directory", str(TERM / step))
    c.CourseDirectory.db_url = os.environ.get("COURSE_DATABASE", f"sqlite:///{TERM / 'gradebook.db'}")
    os.umask(0o077)  # submissions and grades are nobody else's on this machine
    private(TERM)

    # `nbgrader zip_collect` takes archives that hold a folder for each student: term/downloaded/<assignment>/archive/*.zip
    c.ZipCollectApp.extractor_plugin = "autograder.exchange.collect.Extractor"
    c.ZipCollectApp.downloaded_directory = os.path.relpath(TERM / "downloaded", ROOT)
    c.FileNameCollectorPlugin.named_regexp = r".*/extracted/(?P<student_id>[^/]+)/(?P<file_id>[^/]+)$"
    c.FileNameCollectorPlugin.valid_ext = [".ipynb", ".safetensors"]

    c.ExchangeFactory.collect = "autograder.exchange.hub.Collect"
    c.HTMLExporter.filters = {
        "highlight_code": "autograder.exchange.nbgrader.highlighted",
        "markdown2html": "autograder.exchange.formulas.markdown_to_html",
    }
    c.HTMLExporter.preprocessors = ["autograder.exchange.given_back.WhatCounts"]  # in the formgrader, too
    c.GenerateFeedback.exporter_class = "autograder.exchange.given_back.Feedback"
    c.GenerateFeedback.preprocessors = [
        "nbgrader.preprocessors.GetGrades",
        "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor",
    ]
    c.ExportApp.plugin_class = "autograder.exchange.export.Csv"

    # Our notebooks already have gaps where the solutions were, so nbgrader has only to record them.
    c.GenerateAssignment.preprocessors = [
        "nbgrader.preprocessors.LockCells",
        "nbgrader.preprocessors.ClearOutput",
        "nbgrader.preprocessors.CheckCellMetadata",
        "nbgrader.preprocessors.ComputeChecksums",
        "nbgrader.preprocessors.SaveCells",
    ]

    # A submitted notebook is put in order, then graded in the sandbox; nbgrader itself executes nothing.
    c.Autograde.exporter_class = "autograder.exchange.nbgrader.Checked"
    c.Autograde.sanitize_preprocessors = ["autograder.exchange.nbgrader.Canonical"]
    c.Autograde.autograde_preprocessors = [
        "autograder.exchange.nbgrader.SandboxGrade",
        "nbgrader.preprocessors.LimitOutput",
        "nbgrader.preprocessors.SaveAutoGrades",
        "nbgrader.preprocessors.AssignLatePenalties",
        "nbgrader.preprocessors.CheckCellMetadata",
    ]
    c.Autograde.pre_convert_hook = "autograder.exchange.collect.set_aside"
    if "autograde" in sys.argv:
        # Students whose files could not be made safe to handle are left out.
        c.CourseDirectory.student_id_exclude = ",".join(clean_all())


try:
    configure(get_config())  # type: ignore[name-defined]  # noqa: F821 (traitlets calls this file with it)
except Exception as error:
    # traitlets would log an Exception and go on without this file, and nbgrader would run students' code outside the sandbox.
    raise SystemExit(f"nothing was done, since nbgrader_config.py failed: {type(error).__name__}: {error}") from error
