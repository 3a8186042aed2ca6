# syntax=docker/dockerfile:1
# Only the gateway, without torch and vLLM. It serves models that run elsewhere (`base_url`).

FROM python:3.11.17-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv /opt/smallfirst
# The lock first: this layer is rebuilt only if a dependency changes.
COPY requirements/gateway.txt requirements/gateway.txt
# --no-deps: the lock is complete, and omits torch, which xgrammar requires and the gateway does not use.
RUN /opt/smallfirst/bin/pip install --require-hashes --no-deps --only-binary=:all: -r requirements/gateway.txt
COPY pyproject.toml README.md LICENSE ./
COPY router router
COPY server server
RUN /opt/smallfirst/bin/pip install --no-deps . \
    && /opt/smallfirst/bin/smallfirst --help > /dev/null

FROM python:3.11.17-slim-bookworm
LABEL org.opencontainers.image.title="smallfirst" \
      org.opencontainers.image.description="OpenAI-compatible gateway that tries the small model first"
RUN groupadd --gid 10001 smallfirst \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/smallfirst \
       --shell /usr/sbin/nologin smallfirst \
    && install -d -o 10001 -g 10001 -m 0750 /var/lib/smallfirst
COPY --from=build /opt/smallfirst /opt/smallfirst
ENV PATH=/opt/smallfirst/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SMALLFIRST_STATE_DIR=/var/lib/smallfirst
USER 10001:10001
WORKDIR /var/lib/smallfirst
VOLUME /var/lib/smallfirst
EXPOSE 8000
STOPSIGNAL SIGTERM
# /health contacts no upstream, so an unreachable model does not restart the gateway.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=2); c.request('GET', '/health'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["smallfirst"]
# A bind other than loopback needs SMALLFIRST_API_KEYS; without it the start fails.
CMD ["serve", "--config", "/etc/smallfirst/models.yaml", "--host", "0.0.0.0", "--port", "8000"]
