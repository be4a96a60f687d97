"""What the book's pages use: figures, animations, and marks for checked equations."""
