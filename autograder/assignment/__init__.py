"""What is asked and what is handed in: an assignment's source, a submission, the library that students see, their own check."""
