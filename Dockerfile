# aerozarr in a container, by the steps of the README:
#
#   docker build --tag aerozarr .
#   docker run --rm --user "$(id -u):$(id -g)" --volume /data:/data aerozarr --cores 16 \
#     --config dataset=shapenet_car source_root=/data/shapenet store=/data/store workdir=/data/work
FROM python:3.11-slim

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /aerozarr
COPY . .

# The smaller build of PyTorch, without CUDA. The bundled example shows that all of it works.
RUN PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make demo \
    && rm -rf results .snakemake

# Whoever runs it need not be root; Snakemake's own files go to a folder that anybody can write.
ENV PATH=/aerozarr/.venv/bin:$PATH \
    XDG_CACHE_HOME=/tmp/cache \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /work
RUN chmod 1777 /work
ENTRYPOINT ["snakemake", "--snakefile", "/aerozarr/Snakefile"]
