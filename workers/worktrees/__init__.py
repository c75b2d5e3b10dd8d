"""The job's own tree, and the git directory that the agent never sees."""
