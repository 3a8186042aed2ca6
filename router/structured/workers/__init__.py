"""Worker processes for grammar libraries and heavy schemas."""
