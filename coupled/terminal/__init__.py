"""What a command prints, and where that may go."""
