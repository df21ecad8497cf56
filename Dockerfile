# docker build -t jepa-scale . && docker run --rm -v "$PWD:/work" jepa-scale study

FROM python:3.12-slim-bookworm AS build
COPY . /src
WORKDIR /src
RUN pip install --no-cache-dir -c constraints.txt hatchling \
    && python -m hatchling build -t wheel -d /dist

FROM python:3.12-slim-bookworm
# Extras to install, such as "[gymnasium,hdf5]", and another index for a torch that fits the driver.
ARG EXTRAS=""
ARG PIP_EXTRA_INDEX_URL=""
COPY constraints.txt /opt/
COPY --from=build /dist /opt/dist
RUN pip install --no-cache-dir -c /opt/constraints.txt "$(ls /opt/dist/*.whl)${EXTRAS}" \
    && useradd --create-home --uid 1000 jepa
USER jepa
WORKDIR /work
# One thread a process: workers of a study share the cores.
ENV OMP_NUM_THREADS=1
ENTRYPOINT ["jepa-scale"]
CMD ["--help"]
