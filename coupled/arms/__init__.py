"""Arms: the models that are trained in lockstep."""
