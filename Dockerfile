# medvl serve. Build and start: see docs/serving.md. torch's wheels bring CUDA; Triton builds its launchers with gcc.
FROM nvidia/cuda:13.0.1-base-ubuntu24.04

SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv python3-dev gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home medvl \
    && install -d /models \
    && install -d -m 1777 /cache

WORKDIR /opt/medvl
COPY setup.cfg pyproject.toml constraints.txt README.md LICENSE ./
COPY medvl medvl
COPY conf conf
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir -c constraints.txt -e ".[serve]"

USER 10001
# What Triton and torch compile for the GPU is kept in the cache; /tmp may hold no programs.
ENV HOME=/cache MEDVL_CACHE=/cache HF_HOME=/cache/hub PYTHONUNBUFFERED=1 \
    TRITON_CACHE_DIR=/cache/triton TORCHINDUCTOR_CACHE_DIR=/cache/inductor
VOLUME ["/models", "/cache"]
# The run directories of the service are written to the working directory.
WORKDIR /cache
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10m --retries=3 \
    CMD ["/opt/venv/bin/python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
ENTRYPOINT ["/opt/venv/bin/medvl", "serve", "serve.host=0.0.0.0", "serve.key=MEDVL_KEY"]
