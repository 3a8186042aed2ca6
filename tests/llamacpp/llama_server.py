"""llama.cpp's own server, out of the wheel xllamacpp: `python llama_server.py GGUF PORT`."""

import sys
import threading

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.model_alias = {"slm"}
params.port = int(sys.argv[2])
params.n_parallel = 2
params.n_ctx = 2 * 2048
params.endpoint_metrics = True
server = xllamacpp.Server(params)
threading.Event().wait()
