"""What a step takes, act by act, and what ranks bring."""
