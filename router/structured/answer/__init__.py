"""Checking answers against their format, whole or as they stream; repairing them."""
