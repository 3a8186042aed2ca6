"""Starts and supervises vLLM processes, and fetches and prepares models."""
