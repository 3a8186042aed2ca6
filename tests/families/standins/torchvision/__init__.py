"""An empty stand-in for torchvision, whose builds on the package index need CUDA.

vLLM's classes for Qwen3.5, Gemma 3 and Gemma 4 import it, though only pictures need it. It says it is the version that
vLLM asks for.
"""

__version__ = "0.28.0"
