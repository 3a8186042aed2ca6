"""YAML with line numbers, and the strict models that validate it."""
