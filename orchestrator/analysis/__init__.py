"""Rows in, numbers out: pure functions."""
