"""nbgrader's pages: scores stand where there are points, and not at the public checks; in the feedback their list names the tasks."""

import re
from typing import Any

from nbconvert.exporters import HTMLExporter
from nbformat import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor

ENTRY = re.compile(r'<a href="#grade_(\w+)">Test cell</a>')


class WhatCounts(NbGraderPreprocessor):
    """Let a cell of 0 points be an ordinary one."""

    def preprocess_cell(self, cell: NotebookNode, resources: Any, cell_index: int) -> tuple[NotebookNode, Any]:
        """The cell, which is graded only where it gives points."""
        about = cell.metadata.get("nbgrader", {})
        if about.get("grade") and not about.get("points"):
            about["grade"] = False
        return cell, resources


class Feedback(HTMLExporter):
    """nbgrader's exporter, with the tasks' names in the list of scores."""

    def from_notebook_node(self, nb: NotebookNode, resources: Any = None, **kwargs: Any) -> tuple[str, Any]:
        """The page."""
        page, resources = super().from_notebook_node(nb, resources, **kwargs)
        return ENTRY.sub(r'<a href="#grade_\1">\1</a>', page), resources
