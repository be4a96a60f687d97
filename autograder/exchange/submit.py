"""What students' nbgrader hands in with: nobody but the student and the instructor may look into a submission.

It imports next to nothing, since every student's server does.
"""

import os

from nbgrader.exchange.default import ExchangeSubmit

MODE = 0o750  # the folder of submissions hands its group, the instructor's, on to what is put into it


class Submit(ExchangeSubmit):
    """nbgrader's `submit`, which leaves a submission open to everybody who knows or guesses its name."""

    def copy_files(self) -> None:
        """Hand in, and close the folder."""
        super().copy_files()
        os.chmod(os.path.join(self.inbound_path, self.assignment_filename), MODE)
