"""A real small model with a stronger fallback: how many answers of the cascade are right, and what do they cost?"""
