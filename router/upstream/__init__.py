"""Talking to upstreams: one HTTP client, one dialect per kind of engine."""
