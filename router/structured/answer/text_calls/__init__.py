"""Tool calls that a model writes as text: the formats of the model families, and what a text contains in them."""
