"""The library that decides which model answers a call, and dispatches it. Knows no web framework."""
