# A server for one trained model, without TensorFlow:
#   docker build --tag headstart-serve .
#   docker run --read-only --cap-drop ALL --volume "$PWD/runs/photos:/model:ro" --publish 127.0.0.1:8000:8000 \
#     --env HEADSTART_TOKEN headstart-serve
# container/steps.py runs these steps where no engine is.

FROM python:3.12-slim AS build
COPY container/requirements.lock /build/
RUN python -m venv /opt/venv \
    && /opt/venv/bin/python -m pip install --no-cache-dir --no-deps --only-binary :all: --require-hashes \
        --requirement /build/requirements.lock
COPY src /opt/headstart
RUN /opt/venv/bin/python -m compileall -q /opt/headstart

FROM python:3.12-slim
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/headstart /opt/headstart
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/headstart PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["python", "-m", "headstart", "serve"]
CMD ["/model", "--host", "0.0.0.0"]
