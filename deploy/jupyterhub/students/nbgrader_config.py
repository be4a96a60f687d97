"""nbgrader for everybody on this server: which course there is, and where assignments come from and go to."""

from typing import Any

c: Any = get_config()  # type: ignore[name-defined]  # noqa: F821 (traitlets calls this file with it)

c.CourseDirectory.course_id = "learning-to-denoise"
c.Exchange.root = "/srv/nbgrader/exchange"
# Validate runs the checks that everybody sees; a01 takes seconds, training takes minutes.
c.ExecutePreprocessor.timeout = 600
c.ExchangeFactory.submit = "autograder.exchange.submit.Submit"  # for the eyes of the instructor only
