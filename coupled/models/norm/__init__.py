"""The passes over memory that batch-norm is made of, and what makes them: torch's operations, or compiled kernels."""
