"""To the learning platforms and back: nbgrader, archives, reports."""
