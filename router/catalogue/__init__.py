"""The small models that we know: what each needs from the engine and from the GPU, and what its licence allows."""
