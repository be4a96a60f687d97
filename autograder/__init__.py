"""The package that grades: student code runs in a sandbox, and trusted tests outside it ask it for plain data."""
