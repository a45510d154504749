"""How long each act of a step takes, and how much faster ranks are."""
