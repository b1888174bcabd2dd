# The program in an image: what it needs at run time, nothing that builds it, and no root.

FROM python:3.11.15-slim-bookworm AS build
ENV PATH=/opt/heard/bin:$PATH
COPY requirements.image.lock /src/
RUN python -m venv --without-pip /opt/heard \
 && pip --python /opt/heard/bin/python install --no-cache-dir --require-hashes -r /src/requirements.image.lock
COPY . /src
RUN pip --python /opt/heard/bin/python install --no-cache-dir --no-deps --no-build-isolation /src \
 && pip --python /opt/heard/bin/python uninstall --yes uv_build

FROM python:3.11.15-slim-bookworm
# By number, so that a platform can see that it is not root; the folder is the key store's.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin heard \
 && install --directory --owner=10001 --group=10001 --mode=700 /var/lib/heard
ENV PATH=/opt/heard/bin:$PATH HEARD_DIR=/var/lib/heard
USER 10001:10001
WORKDIR /var/lib/heard
ENTRYPOINT ["heard"]
CMD ["--help"]
# Last, as it alone changes with the program.
COPY --from=build /opt/heard /opt/heard
