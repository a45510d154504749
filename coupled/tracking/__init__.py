"""Where else a run can be watched: beside its records, at a bounded rate, and in no byte of them."""
