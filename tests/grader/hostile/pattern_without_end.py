# tries: never finish inside of C, where no signal of Python's is handled
import re

re.match("(a|a)*b", "a" * 64)
