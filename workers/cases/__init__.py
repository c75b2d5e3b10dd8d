"""What test runners print and write, read as cases. Pure parsers: the agent's code had its say in every byte."""
