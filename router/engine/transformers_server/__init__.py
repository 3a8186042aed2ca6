"""Serves one transformers model over OpenAI's chat API, on a Unix socket: `python FOLDER WEIGHTS --uds PATH ...`.

It answers one request at a time, for models that vLLM does not have and that bring their own code. It imports nothing
else of smallfirst, so that an interpreter of another environment can run this folder: such code often needs older
packages than the gateway's. That environment needs Python 3.10, torch, transformers, llguidance and uvicorn.

The gateway never imports it (`router.engine.transformers_launch` starts it).
"""
