"""What a gateway costs per request: `python -m benchmarks.overhead`."""
