"""The live page: an experiment's matrix in the browser, from the database alone, behind a login (ADR 44)."""
