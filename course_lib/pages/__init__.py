"""What the pages of the book and the assignments use: figures, animations, marks for checked equations, and what a check says."""
