# The image of the sidecar: an interpreter, its pinned dependencies, the program with its hot path compiled; no compiler
# and no pip.
#
#   docker build --build-arg VERSION=0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" -t sidecar:0.1.0 .
#   docker run --read-only -v ./sidecar.toml:/etc/sidecar/sidecar.toml:ro sidecar:0.1.0
#
# For both architectures, with a software bill of materials and the provenance in the registry:
#   docker buildx build --platform linux/amd64,linux/arm64 --sbom=true --provenance=mode=max --push -t <registry>/sidecar:0.1.0 .
# A build behind a mirror: --secret id=pip,src=pip.conf (it is mounted for the builder, and is in no layer).
#
# 119 MB on top of the base: cryptography and uvloop have 16 each, botocore 31. `make image` builds it without an engine,
# on Debian's interpreter, and tries it as a pod would (tests/image).

ARG PYTHON=3.13

# The full image has a C compiler, for the hot path; the slim one below has not.
FROM python:${PYTHON} AS builder

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PIP_NO_COMPILE=1
WORKDIR /build

# pip stays in the builder's interpreter and installs into the environment from there.
RUN python -m venv --without-pip /opt/sidecar

# Dependencies first: this layer lasts until the lock changes.
COPY requirements.lock ./
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip --python /opt/sidecar/bin/python install --require-hashes --only-binary :all: -r requirements.lock

# The build backend and the compiler stay in the builder; mypyc reads the types of the dependencies, so they are here, too.
COPY requirements-build.lock ./
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip install --require-hashes --only-binary :all: -r requirements.lock -r requirements-build.lock

COPY pyproject.toml README.md ./
COPY tools ./tools
COPY sidecar ./sidecar
# Bytecode is made here, once: the root filesystem of the pod is read-only, and a start without it costs half a second.
# `unchecked-hash` lets Python trust it without looking at times, which layers and copies change.
RUN pip wheel --no-deps --no-build-isolation --no-index --wheel-dir dist . \
    && pip --python /opt/sidecar/bin/python install --no-deps --no-index dist/*.whl \
    && python tools/compile.py "$(/opt/sidecar/bin/python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')" \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/sidecar

FROM python:${PYTHON}-slim

ARG PYTHON
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sidecar" \
      org.opencontainers.image.description="Calls third-party APIs for the application beside it" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/python:${PYTHON}-slim"

# The base brings pip; nothing is installed here any more.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python*/site-packages/pip* /usr/local/lib/python*/ensurepip

COPY --from=builder /opt/sidecar /opt/sidecar

ENV PATH=/opt/sidecar/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

# A number, since Kubernetes' runAsNonRoot cannot judge a name.
USER 65532:65532
WORKDIR /

# egress, admin (both on loopback: for this pod alone), telemetry, webhooks
EXPOSE 4000 4001 4002 4003

# No HEALTHCHECK: probes are Kubernetes' job, which asks /livez and /readyz and ignores this; in an image without a shell
# tool it would start an interpreter every few seconds to ask the same.
ENTRYPOINT ["sidecar"]
CMD ["run", "-c", "/etc/sidecar/sidecar.toml"]
