"""The output of a command, and the streams that it goes to."""
