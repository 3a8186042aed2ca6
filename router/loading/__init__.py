"""Which models are loaded now: swap groups, models that are unloaded when idle, and models with hours."""
