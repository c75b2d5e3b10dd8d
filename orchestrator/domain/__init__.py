"""Pure values and decisions: no IO, no clock, no randomness that is not an argument."""
