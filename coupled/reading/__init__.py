"""What is believed of a run directory: everything is checked first."""
