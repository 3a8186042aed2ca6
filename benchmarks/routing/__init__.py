"""Which calls does the small model keep, what does that save, and what quality does it cost? Without any model."""
