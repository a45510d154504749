"""What is written of a run, and when."""
