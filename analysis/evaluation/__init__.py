"""What networks are on whole splits: features of kept checkpoints, made once, and what is computed of them."""
