"""Adapters: one file per agent program."""
