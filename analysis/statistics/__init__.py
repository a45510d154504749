"""Intervals, null bands, quantiles and slopes."""
