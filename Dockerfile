# Two stages: what builds stays behind; one binary goes on, and nobody's rights.
FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin tidemark && strip target/release/tidemark

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --home-dir /data tidemark && install -d -o tidemark /data
COPY --from=build /src/target/release/tidemark /usr/local/bin/tidemark
COPY config/tidemark.yaml /etc/tidemark/tidemark.yaml
USER tidemark
WORKDIR /data
VOLUME /data
# A container is reached from outside it or not at all. There are no passwords yet, so this says that it is known: whoever
# reaches the port may read, write and drop everything. Publish it to this machine only: docker run -p 127.0.0.1:6543:6543.
ENV TIDEMARK_CONFIG=/etc/tidemark/tidemark.yaml TIDEMARK_DATA_DIR=/data/tidemark-data TIDEMARK_LISTEN=0.0.0.0:6543
ENV TIDEMARK_INSECURE=true
EXPOSE 6543
STOPSIGNAL SIGTERM
ENTRYPOINT ["tidemark"]
CMD ["serve"]
