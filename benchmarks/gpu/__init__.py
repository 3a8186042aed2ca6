"""The whole product on an NVIDIA GPU, with a model of 8B parameters: `python -m benchmarks.gpu`."""
