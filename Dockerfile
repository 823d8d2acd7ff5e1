# One image for the three programs; the default command is the broker.
#
#   docker build -t millrace .
#   docker run -v millrace:/data millrace
#   docker run -e MILLRACE_BROKER=tcp://HOST:7411 millrace millrace-worker

FROM debian:bookworm-slim AS build
WORKDIR /src
# The packages come first: they change seldom, so this layer is mostly taken from the cache.
COPY deps/ deps/
COPY scripts/install_deps.sh scripts/
RUN scripts/install_deps.sh build && rm -rf /var/lib/apt/lists/*
COPY . .
RUN cmake --preset release -DMILLRACE_BUILD_TESTS=OFF \
  && cmake --build --preset release \
  && cmake --install build/release --prefix /out --strip

FROM debian:bookworm-slim AS runtime
COPY deps/run.txt /usr/share/millrace/deps/
COPY scripts/install_deps.sh /usr/share/millrace/scripts/
RUN /usr/share/millrace/scripts/install_deps.sh run && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 10001 millrace \
  && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin millrace \
  && install -d -o 10001 -g 10001 -m 0750 /data
COPY --from=build /out/bin/ /usr/local/bin/
COPY LICENSE /usr/share/millrace/

ENV MILLRACE_DB=/data/millrace.db
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 7411
STOPSIGNAL SIGTERM
# For the broker; in a worker or producer container it says whether the broker of MILLRACE_BROKER answers.
HEALTHCHECK --interval=10s --timeout=8s --start-period=15s --retries=3 \
  CMD ["millrace-producer", "status"]
CMD ["millrace-broker", "--listen", "tcp://0.0.0.0:7411"]
