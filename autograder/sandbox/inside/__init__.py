"""All of this package that is mounted inside the sandbox; nothing here is trusted once student code runs."""
