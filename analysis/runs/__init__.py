"""A run opened for reading, and its measured curves."""
