"""Which stage comes next."""
