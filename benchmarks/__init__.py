"""Side-by-side runs against other libraries, on one machine, in one run. `make bench` runs them; see README.md here."""
