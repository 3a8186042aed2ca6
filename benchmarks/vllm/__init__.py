"""What the gateway takes away from real vLLM's throughput and time to first token: `python -m benchmarks.vllm`."""
