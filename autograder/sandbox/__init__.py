"""Student code in a process of its own: the sandbox from outside, and `inside`, the only code that it sees."""
