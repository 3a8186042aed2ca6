"""Policies: where on its ladder a call starts."""
