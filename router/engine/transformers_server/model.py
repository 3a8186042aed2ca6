"""A loaded model: requests to prompts, and prompts to answers. One answer at a time."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from llguidance import LLMatcher, LLTokenizer, grammar_from
from llguidance.hf import from_tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LogitsProcessorList, StoppingCriteriaList

from .decoding import Decoding, ModelFacts
from .errors import RequestError, unsupported_format
from .events import Event
from .request import ChatRequest, OutputFormat

GREEDY_BELOW = 1e-5
"""temperatures below this choose the likeliest token, as in vLLM"""


@dataclass(frozen=True)
class LoadOptions:
    """How to load a model."""

    folder: str
    context: int | None
    """the most tokens of prompt and answer; None: what the model's config says"""
    dtype: str
    trust_remote_code: bool
    gpu_memory_utilization: float


@dataclass(frozen=True)
class Prompt:
    """A request in tokens, and the room that its context leaves."""

    request: ChatRequest
    tokens: list[int]
    max_tokens: int
    matcher: LLMatcher | None


class Model:
    """The model, its tokenizer and its limits. `prompt` and `generate` may run in one thread each."""

    def __init__(self, model: Any, tokenizer: Any, context: int) -> None:
        self._model, self._tokenizer, self.context = model, tokenizer, context
        # a tokenizer cannot be used by two threads at once
        decoder = copy.deepcopy(tokenizer)
        self._facts = ModelFacts(
            lambda ids: decoder.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False),
            _eos_tokens(model, tokenizer),
            _stop_strings(model.generation_config.stop_strings),
        )
        self._grammars = _grammar_tokenizer(tokenizer, model.config.vocab_size, self._facts.eos)

    @classmethod
    def load(cls, options: LoadOptions) -> Model:
        """Load a model from its folder, onto the GPU if there is one.

        Raises:
            SystemExit: the model cannot be served as configured. The message says what to change.
        """
        trust = {"trust_remote_code": options.trust_remote_code}
        try:
            config = AutoConfig.from_pretrained(options.folder, **trust)
            context = _context(options.context, getattr(config, "max_position_embeddings", None))
            tokenizer = AutoTokenizer.from_pretrained(options.folder, **trust)
            model = AutoModelForCausalLM.from_pretrained(options.folder, torch_dtype=options.dtype, **trust)
        except ValueError as error:
            if "trust_remote_code" not in str(error) or options.trust_remote_code:
                raise
            raise SystemExit(
                "Error: the model brings its own code, which would run as the gateway's user. Read it, and if you"
                " trust it, write `transformers_args: {trust_remote_code: true}`"
            ) from None
        if not tokenizer.chat_template:
            raise SystemExit("Error: the model has no chat template, so it cannot answer chat requests")
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda":
            torch.cuda.set_per_process_memory_fraction(options.gpu_memory_utilization)
        return cls(model.to(device).eval(), tokenizer, context)

    def prompt(self, request: ChatRequest) -> Prompt:
        """Write the request as tokens, with the grammar of its format.

        Raises:
            RequestError: the chat template refuses the messages, the prompt does not fit, or the format cannot be
                enforced.
        """
        try:
            text = self._tokenizer.apply_chat_template(
                list(request.messages),
                tools=request.tools,
                add_generation_prompt=True,
                tokenize=False,
                **request.template_options,
            )
        except Exception as error:  # a template is a program of the model
            raise RequestError(f"The chat template refuses the messages: {error}", param="messages") from None
        tokens = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        room = self.context - len(tokens)
        wanted = request.max_tokens or room
        if room < 1 or wanted > room:
            asked = f" and max_tokens is {request.max_tokens}" if request.max_tokens else ""
            raise RequestError(
                f"The context has {self.context} tokens, but the prompt has {len(tokens)}{asked}.",
                param="messages",
                code="context_length_exceeded",
            )
        return Prompt(request, tokens, wanted, self._matcher(request))

    def generate(self, prompt: Prompt, emit: Callable[[Event], None], cancelled: Callable[[], bool]) -> None:
        """Generate the answer's choices, one after the other, until the last one ends or `cancelled` says so."""
        seed = prompt.request.sampling.seed
        for choice in range(prompt.request.choices):
            if cancelled():
                return
            if seed is None:
                torch.seed()
            else:
                torch.manual_seed(seed + choice)
            matcher = prompt.matcher.deep_copy() if prompt.matcher else None
            decoding = Decoding(prompt.request, choice, self._facts, matcher, emit, cancelled)
            ids = torch.tensor([prompt.tokens], device=self._model.device)
            self._model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                generation_config=self._generation_config(prompt),
                logits_processor=LogitsProcessorList([decoding.steer]),
                stopping_criteria=StoppingCriteriaList([decoding.read]),
            )
            emit(decoding.finished())

    def works(self) -> bool:
        """Return whether the device still computes. After some errors of a GPU, only a new process does."""
        try:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()  # what an answer that ran out of memory has left
            return bool(torch.ones(1, device=self._model.device).item())
        except RuntimeError:
            return False

    def _generation_config(self, prompt: Prompt) -> Any:
        """Return the model's own config with the values of the request."""
        config = copy.deepcopy(self._model.generation_config)
        written = config.to_diff_dict()
        sampling = prompt.request.sampling
        temperature = sampling.temperature
        if temperature is None:
            temperature = written.get("temperature", 1.0)
        greedy = temperature < GREEDY_BELOW

        def value(asked: float | None, key: str, off: float) -> float:
            return off if greedy else asked if asked is not None else written.get(key, off)

        config.do_sample = not greedy
        config.temperature = 1.0 if greedy else temperature
        config.top_p = value(sampling.top_p, "top_p", 1.0)
        config.top_k = max(0, int(value(sampling.top_k, "top_k", 0)))
        config.min_p = value(sampling.min_p, "min_p", 0.0) or None
        penalty = sampling.repetition_penalty
        config.repetition_penalty = written.get("repetition_penalty", 1.0) if penalty is None else penalty
        config.max_new_tokens = prompt.max_tokens
        config.max_length = None
        config.stop_strings = None  # they are among `ModelFacts`, as `generate` reports no reason for its end
        config.eos_token_id = sorted(self._facts.eos)
        config.pad_token_id = config.eos_token_id[0]
        return config

    def _matcher(self, request: ChatRequest) -> LLMatcher | None:
        """Return the matcher of the format or the calls that the answer must have."""
        asked = request.output_format
        if request.calls:
            asked = OutputFormat("json_schema", json.dumps(request.calls.schema()), "tools")
        if asked is None:
            return None
        if self._grammars is None:
            raise unsupported_format(
                "The model's tokenizer is not a fast one, so no format can be enforced.", asked.param
            )
        try:
            matcher = LLMatcher(self._grammars, grammar_from(asked.kind, asked.source), log_level=0)  # type: ignore[arg-type]
        except ValueError as error:
            raise unsupported_format(f"The format cannot be enforced: {error}", asked.param) from None
        if matcher.is_error():
            raise unsupported_format(f"The format cannot be enforced: {matcher.get_error()}", asked.param)
        return matcher


def _context(configured: int | None, of_model: int | None) -> int:
    if configured is None and of_model is None:
        raise SystemExit("Error: the model's config does not say how long its context is: write `context`")
    if configured and of_model and configured > of_model:
        raise SystemExit(f"Error: `context: {configured}` is more than the model's {of_model} tokens")
    return configured or of_model or 0


def _eos_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end an answer: the generation config's and the tokenizer's."""
    found: set[int] = set()
    for ids in (model.generation_config.eos_token_id, tokenizer.eos_token_id):
        found.update([ids] if isinstance(ids, int) else ids or [])
    if not found:
        raise SystemExit("Error: neither the model nor its tokenizer says which token ends an answer")
    return frozenset(found)


def _stop_strings(configured: str | list[str] | None) -> list[str]:
    return [configured] if isinstance(configured, str) else configured or []


def _grammar_tokenizer(tokenizer: Any, size: int, eos: Iterable[int]) -> LLTokenizer | None:
    """Return the tokenizer in the grammar library's form, or None if the library cannot read it."""
    try:
        return from_tokenizer(tokenizer, n_vocab=max(size, len(tokenizer)), eos_token=sorted(eos))
    except ValueError:
        return None
