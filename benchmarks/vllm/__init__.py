"""What the gateway costs of a real vLLM's throughput and time to first token: `python -m benchmarks.vllm`."""
