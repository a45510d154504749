"""Observers: each looks at the state of a step and gives the columns of a stream."""
