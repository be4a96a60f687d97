"""The {quiz} directive: a question whose answers say, when chosen, why they are right or wrong.

    ```{quiz} Which of these is a variance?
    - [x] $\\beta_t$ :: Right: step $t$ adds noise of variance $\\beta_t$.
    - [ ] $\\sqrt{\\beta_t}$ :: That is its square root, a standard deviation.
    ```

Several right answers make check boxes, one makes radio buttons. Choosing an answer opens its reason; without JavaScript a reader
opens the reasons one by one.
"""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ANSWER = re.compile(r"- \[([ xX])\] (.*)")


class Quiz(SphinxDirective):
    """Turn a question and its list of answers into a form."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Check the answers and build the form."""
        answers = self.answers()
        kind = "radio" if sum(right for right, *_ in answers) == 1 else "checkbox"
        name = f"quiz-{self.env.new_serialno('quiz')}"
        quiz = nodes.container(classes=["quiz"])
        quiz += raw(f'<fieldset class="quiz-question" data-kind="{kind}"><legend>')
        quiz += self.inline(self.arguments[0])
        quiz += raw("</legend>")
        for number, (right, answer, reason) in enumerate(answers):
            mark = "right" if right else "wrong"
            quiz += raw(
                f'<div class="quiz-answer {mark}"><label><input type="{kind}" name="{name}" value="{number}" autocomplete="off">'
                ' <span class="quiz-text">'
            )
            quiz += self.inline(answer)
            # The live region is always there, so that a screen reader speaks the reason when it opens, and not before.
            quiz += raw(
                '</span></label><div aria-live="polite"><details class="quiz-reason"><summary>Check this answer</summary>'
            )
            quiz += self.inline(reason)
            quiz += raw("</details></div></div>")
        quiz += raw("</fieldset>")
        return [quiz]

    def answers(self) -> list[tuple[bool, str, str]]:
        """(right, answer, reason) of each line; an answer may go on over indented lines."""
        lines: list[str] = []
        for line in self.content:
            if ANSWER.match(line):
                lines.append(line)
            elif line.strip() and lines:
                lines[-1] += " " + line.strip()
            elif line.strip():
                raise self.error(f"a quiz holds lines '- [x] answer :: reason'; got {line!r}")
        answers = []
        for line in lines:
            match = ANSWER.match(line)
            assert match is not None
            answer, separator, reason = match[2].partition(" :: ")
            if not separator or not reason.strip():
                raise self.error(f"each answer of a quiz needs a reason after ' :: '; got {line!r}")
            answers.append((match[1] in "xX", answer, reason))
        if len(answers) < 2 or not any(right for right, *_ in answers):
            raise self.error("a quiz needs at least two answers, one of them right ('- [x]')")
        return answers

    def inline(self, text: str) -> nodes.inline:
        """Parse one line of MyST."""
        parsed, messages = self.parse_inline(text)
        return nodes.inline("", "", *parsed, *messages)


def raw(html: str) -> nodes.raw:
    """A piece of HTML."""
    return nodes.raw("", html, format="html")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.add_directive("quiz", Quiz)
    app.add_js_file("quiz.js")
    return {"parallel_read_safe": True, "version": "1"}
