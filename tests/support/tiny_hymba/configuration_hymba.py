"""The config of a model type that the library does not have."""

from transformers import LlamaConfig


class HymbaConfig(LlamaConfig):
    model_type = "hymba"
