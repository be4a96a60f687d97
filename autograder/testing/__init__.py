"""What a hidden test is written with."""
