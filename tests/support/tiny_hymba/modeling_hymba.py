"""A model that says its name, as only this code can make it do. Its batches have one sequence, as Hymba's."""

import torch
from transformers import LlamaForCausalLM

from .configuration_hymba import HymbaConfig

ANSWER = "hymba"
FIRST_BYTE_TOKEN = ord("!")
"""the token of this byte is 0"""


class HymbaForCausalLM(LlamaForCausalLM):
    config_class = HymbaConfig

    def forward(self, input_ids=None, **inputs):
        if input_ids.shape[0] != 1:
            raise ValueError(f"the batch size must be 1, not {input_ids.shape[0]}")
        outputs = super().forward(input_ids=input_ids, **inputs)
        outputs.logits[:, -1, self._next(int(input_ids[0, -1]))] += 1000
        return outputs

    def _next(self, token):
        """Return the token of the next letter of the name; after the last one, the end."""
        letters = [ord(letter) - FIRST_BYTE_TOKEN for letter in ANSWER]
        following = torch.tensor([*letters, self.config.eos_token_id])
        return int(following[letters.index(token) + 1] if token in letters else following[0])
