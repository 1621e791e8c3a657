# The server, the monitor and the other commands of `cryptopulse`; nothing that only development needs.
FROM python:3.12.12-slim-bookworm AS built
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source
RUN python -m venv /opt/cryptopulse
COPY requirements-serve.txt ./
RUN /opt/cryptopulse/bin/pip install --require-hashes -r requirements-serve.txt

# What makes a wheel of the project is pinned in requirements.txt, among much that is not needed here.
COPY requirements.txt ./
RUN awk '/^[a-z]/ { wanted = /^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/ } wanted' requirements.txt \
        >requirements-build.txt \
    && pip install --require-hashes -r requirements-build.txt
COPY pyproject.toml README.md LICENSE cryptopulse.py ./
COPY core/ core/
COPY server/ server/
COPY monitor/ monitor/
COPY simulator/ simulator/
RUN pip wheel --no-deps --no-build-isolation --wheel-dir wheels . \
    && /opt/cryptopulse/bin/pip install --no-deps wheels/*.whl

FROM python:3.12.12-slim-bookworm
COPY --from=built /opt/cryptopulse /opt/cryptopulse
ENV PATH=/opt/cryptopulse/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 3000
# Healthy is who may be sent requests.
HEALTHCHECK --interval=5s --timeout=3s --retries=3 --start-period=20s CMD ["python", "-c", "import os, urllib.request as web; web.urlopen(f\"http://127.0.0.1:{os.environ.get('PORT', 3000)}/health/ready\", timeout=2)"]
ENTRYPOINT ["cryptopulse"]
CMD ["serve"]
