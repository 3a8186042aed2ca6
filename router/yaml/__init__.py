"""YAML with line numbers, and the strict entries that it is validated into."""
