"""Starts and supervises vLLM processes; fetches and prepares models."""
