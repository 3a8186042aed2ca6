"""Starts and supervises engines, and fetches and prepares models."""
