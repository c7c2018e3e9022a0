# syntax=docker/dockerfile:1
# Targets: `remote` (no torch: language model and NLI model on servers), `cpu` (bundled models; the default), `gpu`.
ARG PYTHON_IMAGE=python:3.12-slim
ARG VLLM_IMAGE=vllm/vllm-openai:v0.33.0

FROM ${PYTHON_IMAGE} AS environment
WORKDIR /src
# Without pip and setuptools, which the running service never needs.
RUN python3 -m venv --without-pip /opt/demur
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_PYTHON=/opt/demur/bin/python3

FROM environment AS remote-build
COPY pyproject.toml README.md LICENSE ./
COPY service service
RUN rm -rf service/demur/bundled && pip install '.[fast,otel]'

FROM environment AS cpu-build
# Before the sources, so that a change to them does not fetch torch again; alone, because this index has other packages.
RUN pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu
COPY pyproject.toml README.md LICENSE ./
COPY service service
RUN pip install '.[fast,local,otel]'

FROM ${PYTHON_IMAGE} AS runtime
RUN groupadd --gid 10001 demur && useradd --uid 10001 --gid 10001 --home-dir /data --create-home demur
# Everything that libraries want to write goes to /data, a volume; the rest may be read-only.
ENV PATH=/opt/demur/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HOME=/data/huggingface \
    XDG_CACHE_HOME=/data/cache \
    XDG_DATA_HOME=/data/share \
    DEMUR_SERVER__HOST=0.0.0.0 \
    DEMUR_SERVER__ALLOW_OPEN=true
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python3", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('DEMUR_SERVER__PORT', '8000')), timeout=4); c.request('GET', '/readyz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["demur", "serve"]

FROM runtime AS remote
COPY --from=remote-build /opt/demur /opt/demur
# The addresses, DEMUR_SAMPLER__BASE_URLS and DEMUR_NLI__URL, are the user's to give.
ENV DEMUR_SAMPLER__BACKEND=openai \
    DEMUR_NLI__BACKEND=tei

FROM ${VLLM_IMAGE} AS gpu
COPY pyproject.toml README.md LICENSE /src/
COPY service /src/service
# vLLM pins much of what it stands on; what is installed there must not move.
RUN python3 -m pip freeze --exclude-editable | grep -v ' @ ' > /tmp/installed.txt \
    && python3 -m pip install --no-cache-dir --constraint /tmp/installed.txt '/src[fast,vllm,otel]' \
    && rm -rf /src /tmp/installed.txt \
    && groupadd --gid 10001 demur && useradd --uid 10001 --gid 10001 --home-dir /data --create-home demur
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HOME=/data/huggingface \
    XDG_CACHE_HOME=/data/cache \
    XDG_DATA_HOME=/data/share \
    XDG_CONFIG_HOME=/data/config \
    TRITON_CACHE_DIR=/data/cache/triton \
    VLLM_NO_USAGE_STATS=1 \
    DEMUR_SAMPLER__BACKEND=vllm \
    DEMUR_SERVER__HOST=0.0.0.0 \
    DEMUR_SERVER__ALLOW_OPEN=true
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=3 CMD ["python3", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('DEMUR_SERVER__PORT', '8000')), timeout=4); c.request('GET', '/readyz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["demur", "serve"]

# Last, so that `docker build .` makes it.
FROM runtime AS cpu
COPY --from=cpu-build /opt/demur /opt/demur
