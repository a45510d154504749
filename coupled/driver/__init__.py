"""The driver: every arm through the same steps, in lockstep."""
