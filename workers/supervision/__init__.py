"""One stage's process tree: who owns it, how it ends."""
