"""A real small model with a stronger one behind it: what does the cascade keep right, and what does it cost?"""
