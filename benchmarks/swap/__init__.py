"""Models that take turns in memory, under load: is every request answered, and how often are models swapped?"""
