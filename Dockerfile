# A server that plans graphs.  It has no torch: models are traced where they are made.
FROM python:3.11-slim-bookworm AS build
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim-bookworm
RUN useradd --system --create-home --uid 10001 memplan
COPY constraints.txt /tmp/constraints.txt
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir -c /tmp/constraints.txt "$(ls /wheels/*.whl)[service,cli]" \
    && rm -r /wheels /tmp/constraints.txt
USER memplan
WORKDIR /home/memplan
# Compiled once, for this user: else the first request would wait for it.
RUN python -c 'from memplan.solver import prepare; prepare()'
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s CMD ["python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
# There is no authentication: publish the port only behind something that has it.
CMD ["plan", "serve", "--host", "0.0.0.0", "--port", "8080"]
