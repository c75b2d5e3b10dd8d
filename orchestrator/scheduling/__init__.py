"""Use cases, one pass each, no loops."""
