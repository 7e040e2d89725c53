# Outcrier and nothing else: a static binary, certificates of authorities to fetch
# keys by HTTPS, and no user but a nobody.
#
#   docker build -t outcrier .
#   docker run --rm -p 8080:8080 -e DATABASE_URL -e OUTCRIER_JWT_SECRET outcrier
#
# It runs as well with --read-only, --cap-drop ALL and no-new-privileges.

# The stage that has the binary: build compiles it, built takes it from a release.
ARG BINARY=build

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o /outcrier ./cmd/outcrier

# The demo, for docker-compose.yml: docker build --target demo -t outcrier-demo .
FROM build AS build-demo
RUN CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o /demo ./examples/demo

FROM scratch AS demo
COPY --from=build /src/LICENSE /src/THIRD_PARTY_NOTICES /licenses/
COPY --from=build /outcrier /outcrier
COPY --from=build-demo /demo /demo
USER 65532:65532
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s CMD ["/outcrier", "health"]
ENTRYPOINT ["/demo"]

# The published image has the binary of the archives (.goreleaser.yaml), so that both are
# the same.
FROM --platform=$BUILDPLATFORM golang:1.26 AS built
ARG TARGETPLATFORM
COPY LICENSE THIRD_PARTY_NOTICES /src/
COPY $TARGETPLATFORM/outcrier /outcrier

FROM $BINARY AS binary

FROM scratch
COPY --from=binary /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=binary /src/LICENSE /src/THIRD_PARTY_NOTICES /licenses/
COPY --from=binary /outcrier /outcrier
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
ENV OUTCRIER_LISTEN=:8080
EXPOSE 8080
# Ready, not only alive: its tail follows the table.
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s CMD ["/outcrier", "health"]
ENTRYPOINT ["/outcrier"]
CMD ["serve"]
