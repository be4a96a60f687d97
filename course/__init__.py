"""The command `course`, above the library and the grader."""
