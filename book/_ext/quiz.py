"""The {quiz} directive: a question whose answers say, when chosen, why they are right or wrong.

    ```{quiz} Which of these is a variance?
    - [x] $\\beta_t$ :: Right: step $t$ adds noise of variance $\\beta_t$.
    - [ ] $\\sqrt{\\beta_t}$ :: That is its square root, a standard deviation.
    ```

Several right answers make check boxes, one makes radio buttons. Choosing an answer opens its reason; without JavaScript a reader
opens the reasons one by one. The answers are shuffled, in the same way each time, since authors tend to hide the right one in the middle.
"""

import hashlib
import html
import random
import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from tex_words import MATH, tex_words

ANSWER = re.compile(r"- \[([ xX])\] (.*)")


class quiz(nodes.container):
    """A question and its answers; a writer that does not know it shows what is in it."""


class quiz_question(nodes.paragraph):
    """The question."""


class quiz_answer(nodes.container):
    """One answer, `right` or not, and its reason."""


class quiz_text(nodes.paragraph):
    """What an answer says."""


class quiz_reason(nodes.paragraph):
    """Why it is right or wrong."""


class Quiz(SphinxDirective):
    """Turn a question and its list of answers into a form."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Check the answers and build the form."""
        answers = shuffled(self.answers(), self.arguments[0])
        kind = "radio" if sum(right for right, *_ in answers) == 1 else "checkbox"
        name = f"quiz-{self.env.new_serialno('quiz')}"
        form = quiz("", self.inline(quiz_question, self.arguments[0]), classes=["quiz"], kind=kind)
        for number, (right, answer, reason) in enumerate(answers):
            parts = [self.inline(quiz_text, answer), self.inline(quiz_reason, reason)]
            form += quiz_answer("", *parts, right=right, kind=kind, name=name, number=number, words=spoken(answer))
        return [form]

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

    def inline(self, node: type[nodes.TextElement], text: str) -> nodes.TextElement:
        """Parse one line of MyST."""
        parsed, messages = self.parse_inline(text)
        return node("", "", *parsed, *messages)


def shuffled(answers: list[tuple[bool, str, str]], question: str) -> list[tuple[bool, str, str]]:
    """The answers in an order that depends on nothing but the question."""
    seed = hashlib.sha256(question.encode()).hexdigest()
    return random.Random(seed).sample(answers, len(answers))


def spoken(answer: str) -> str:
    """Words for an answer that is nothing but a formula, which has none of its own; "" for one that has words."""
    return "" if re.search(r"[A-Za-z]{2}", MATH.sub("", answer)) else tex_words(" ".join(MATH.findall(answer)))


def _visit_quiz(self: Any, node: quiz) -> None:
    self.body.append(f'<div class="quiz docutils"><fieldset class="quiz-question" data-kind="{node["kind"]}">')


def _depart_quiz(self: Any, node: quiz) -> None:
    self.body.append("</fieldset></div>\n")


def _visit_question(self: Any, node: quiz_question) -> None:
    self.body.append("<legend>")


def _depart_question(self: Any, node: quiz_question) -> None:
    self.body.append("</legend>")


def _visit_answer(self: Any, node: quiz_answer) -> None:
    self.body.append(f'<div class="quiz-answer {"right" if node["right"] else "wrong"}">')


def _depart_answer(self: Any, node: quiz_answer) -> None:
    self.body.append("</div>")


def _visit_text(self: Any, node: quiz_text) -> None:
    answer = node.parent
    words = f' aria-label="{html.escape(answer["words"])}"' if answer["words"] else ""
    self.body.append(
        f'<label><input type="{answer["kind"]}" name="{answer["name"]}" value="{answer["number"]}" autocomplete="off"{words}>'
        ' <span class="quiz-text">'
    )


def _depart_text(self: Any, node: quiz_text) -> None:
    self.body.append("</span></label>")


def _visit_reason(self: Any, node: quiz_reason) -> None:
    # The live region is always there, so that a screen reader speaks the reason when it opens, and not before.
    self.body.append(
        '<div aria-live="polite"><details class="quiz-reason"><summary>Check this answer</summary><span class="quiz-why">'
    )


def _depart_reason(self: Any, node: quiz_reason) -> None:
    self.body.append("</span></details></div>")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.add_directive("quiz", Quiz)
    app.add_node(quiz, html=(_visit_quiz, _depart_quiz))
    app.add_node(quiz_question, html=(_visit_question, _depart_question))
    app.add_node(quiz_answer, html=(_visit_answer, _depart_answer))
    app.add_node(quiz_text, html=(_visit_text, _depart_text))
    app.add_node(quiz_reason, html=(_visit_reason, _depart_reason))
    app.add_js_file("quiz.js")
    return {"parallel_read_safe": True, "version": "1"}
