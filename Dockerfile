# The server as an image, see docs/docker.md:
#   docker build -t maxvit .
#   docker run -p 127.0.0.1:8000:8000 -v "$PWD/runs/photos:/model:ro" maxvit

FROM python:3.12-slim-bookworm AS build
# compiles the kernels for CPUs, which become part of the package
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ \
 && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/maxvit
ENV PATH=/opt/maxvit/bin:$PATH
# where PyTorch is installed from: empty, pip's own index, whose PyTorch brings CUDA on x86-64; or PyTorch's index of
# packages for CPUs, for an image of a fraction of that
ARG TORCH_INDEX=""
# hadolint ignore=DL3013
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch torchvision
WORKDIR /source
COPY . .
# what is installed: this checkout, a wheel in dist/, or "maxvit" from pip's index; and with which extras
ARG PACKAGE=.
ARG EXTRAS=serve,export
# hadolint ignore=DL3013
RUN pip install --no-cache-dir "${PACKAGE}[${EXTRAS}]"

FROM python:3.12-slim-bookworm
RUN useradd --uid 10001 --create-home maxvit
COPY --from=build /opt/maxvit /opt/maxvit
ENV PATH=/opt/maxvit/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
WORKDIR /home/maxvit
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["maxvit", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["/model"]
