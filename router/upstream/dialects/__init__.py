"""Dialects: how each kind of engine wants to be asked, and how it refuses."""
