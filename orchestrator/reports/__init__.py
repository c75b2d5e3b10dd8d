"""What people see: terminal, Markdown, JSON, HTML."""
