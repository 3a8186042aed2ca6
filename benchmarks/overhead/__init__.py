"""What does a gateway cost per request? `python -m benchmarks.overhead`."""
