"""What an engine's decoding enforces, and how a constrained call is written for it."""
