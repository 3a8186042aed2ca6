"""How long a managed model takes to its first answer, and to the next one after a crash."""
