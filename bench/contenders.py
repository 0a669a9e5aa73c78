"""Contenders: the proxies that are put side by side, each with the config that makes it do the same work."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench import origin, sidecar_config
from bench.scratch import write

NGINX, ENVOY, CADDY, FLOOR, OWN_FLOOR = 9101, 9102, 9104, 9108, 9109
PATH = "/bench/v1/x"


@dataclass(frozen=True)
class Contender:
    """One proxy; `ready_url` answers 200 as soon as it is up, and is the loaded URL if it has no other."""

    command: str
    url: str
    ready_url: str
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def port(self) -> int:
        """Give the port that has to be free."""
        return int(self.url.removeprefix("http://").partition("/")[0].partition(":")[2])


def known(d: Path, *, tls: bool, python: str) -> dict[str, Contender]:
    """Give those that we know how to start; their configs are written to `d`."""
    envoy = f"envoy -c {_envoy_config(d, tls=tls)} --concurrency 1 --log-level error --use-dynamic-base-id"
    caddy = f"caddy run --config {_caddy_config(d, tls=tls)}"
    floor = f"{sys.executable} -m bench.floor {{}} {origin.base_url(tls=tls)} {d}/cert.pem"
    vendor, resilient = origin.base_url(tls=tls), sidecar_config.RESILIENT
    sidecar = sidecar_config.command(sidecar_config.config(d, vendor, resilient), python)
    first, bare = sidecar_config.SOURCES, sidecar_config.BARE
    sources = sidecar_config.config(d, vendor, resilient, first_port=first)
    plain = sidecar_config.config(d, vendor, sidecar_config.PLAIN, first_port=bare)
    return {
        "nginx": _at(NGINX, f"nginx -c {_nginx_config(d, tls=tls)}"),
        "envoy": _at(ENVOY, envoy),
        "caddy": _at(CADDY, caddy, {"GOMAXPROCS": "1", "HOME": str(d)}),
        "sidecar": Contender(sidecar, f"{sidecar_config.URL}/v1/x", sidecar_config.READY_URL),
        "sidecar_sources": Contender(
            sidecar_config.command(sources, python, is_from_sources=True),
            f"http://127.0.0.1:{first}/bench/v1/x",
            f"http://127.0.0.1:{first + 2}/readyz",
        ),
        "sidecar_bare": Contender(
            sidecar_config.command(plain, python),
            f"http://127.0.0.1:{bare}/bench/v1/x",
            f"http://127.0.0.1:{bare + 2}/readyz",
        ),
        "floor_web_server": _at(FLOOR, floor.format(FLOOR)),
        "floor_own_door": _at(OWN_FLOOR, floor.format(OWN_FLOOR) + " --own-door"),
    }


def parse(text: str, d: Path) -> tuple[str, Contender]:
    """Read a further contender, `name=port:/path:command`; `{dir}` in the command is the scratch directory.

    It must bring an Authorization of its own to the origin, as all do.
    """
    name, _, rest = text.partition("=")
    port, path, command = rest.split(":", 2)
    return name, _at(int(port), command.replace("{dir}", str(d)), path=path)


def _at(port: int, command: str, env: Mapping[str, str] | None = None, path: str = PATH) -> Contender:
    url = f"http://127.0.0.1:{port}{path}"
    return Contender(command, url, url, env or {})


def _nginx_config(d: Path, *, tls: bool) -> Path:
    scheme, port = ("https", origin.TLS_PORT) if tls else ("http", origin.PORT)
    return write(
        d / "nginx.conf",
        f"""
worker_processes 1; daemon off; pid {d}/nginx.pid; error_log /dev/null;
events {{ worker_connections 4096; }}
http {{
 log_format j escape=json '{{"ts":"$msec","m":"$request_method","p":"$uri",'
  '"s":$status,"t":"$request_time","id":"$request_id"}}';
 access_log {d}/nginx_access.log j buffer=32k; keepalive_requests 10000000;
 client_body_temp_path {d}/nb; proxy_temp_path {d}/np; fastcgi_temp_path {d}/nf;
 uwsgi_temp_path {d}/nu; scgi_temp_path {d}/ns;
 upstream o {{ server 127.0.0.1:{port}; keepalive 256; keepalive_requests 10000000; }}
 server {{
  listen 127.0.0.1:{NGINX};
  location /bench/ {{
   proxy_pass {scheme}://o/; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_ssl_session_reuse on;
   proxy_ssl_verify on; proxy_ssl_trusted_certificate {d}/cert.pem; proxy_ssl_name localhost; proxy_ssl_server_name on;
   proxy_set_header Authorization "Bearer abc"; proxy_set_header X-Request-ID $request_id;
  }}
 }}
}}
""",
    )


def _caddy_config(d: Path, *, tls: bool) -> Path:
    trust = f"transport http {{\n    tls_trust_pool file {d}/cert.pem\n   }}" if tls else ""
    return write(
        d / "Caddyfile",
        f"""{{
 admin off
 auto_https off
}}
http://127.0.0.1:{CADDY} {{
 log {{
  output file {d}/caddy_access.log
 }}
 handle_path /bench/* {{
  reverse_proxy {origin.base_url(tls=tls)} {{
   header_up Authorization "Bearer abc"
   {trust}
  }}
 }}
}}
""",
    )


_EXTENSIONS = "type.googleapis.com/envoy.extensions"
_ACCESS_LOG_FORMAT = (
    '{ ts: "%START_TIME%", method: "%REQ(:METHOD)%", path: "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", '
    'code: "%RESPONSE_CODE%", flags: "%RESPONSE_FLAGS%", ms: "%DURATION%", '
    'id: "%REQ(X-REQUEST-ID)%", up: "%UPSTREAM_HOST%" }'
)


def _envoy_config(d: Path, *, tls: bool) -> Path:
    return write(
        d / "envoy.yaml",
        f"""
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {ENVOY} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {_EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: egress
          generate_request_id: true
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": {_EXTENSIONS}.access_loggers.file.v3.FileAccessLog
              path: {d}/envoy_access.log
              log_format: {{ json_format: {_ACCESS_LOG_FORMAT} }}
          route_config:
            virtual_hosts:
            - name: v
              domains: ["*"]
              routes:
              - match: {{ prefix: "/bench/" }}
                route:
                  cluster: o
                  prefix_rewrite: "/"
                  timeout: 10s
                  retry_policy: {{ retry_on: "5xx,reset,connect-failure", num_retries: 3 }}
          http_filters:
{_ENVOY_FILTERS}
  clusters:
  - name: o
    type: STATIC
    connect_timeout: 1s
    outlier_detection: {{ consecutive_5xx: 5 }}
    circuit_breakers:
      thresholds: [ {{ max_connections: 1024, max_pending_requests: 1024, max_requests: 1024, max_retries: 3 }} ]
    load_assignment:
      cluster_name: o
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {_origin_port(tls=tls)} }} }} }}
{_envoy_tls(d) if tls else ""}
  secrets:
  - name: cred
    generic_secret: {{ secret: {{ inline_string: "Bearer abc" }} }}
""",
    )


_ENVOY_FILTERS = f"""
          - name: envoy.filters.http.local_ratelimit
            typed_config:
              "@type": {_EXTENSIONS}.filters.http.local_ratelimit.v3.LocalRateLimit
              stat_prefix: rl
              token_bucket: {{ max_tokens: 1000000, tokens_per_fill: 1000000, fill_interval: 1s }}
              filter_enabled: {{ default_value: {{ numerator: 100, denominator: HUNDRED }} }}
              filter_enforced: {{ default_value: {{ numerator: 100, denominator: HUNDRED }} }}
          - name: envoy.filters.http.credential_injector
            typed_config:
              "@type": {_EXTENSIONS}.filters.http.credential_injector.v3.CredentialInjector
              overwrite: true
              credential:
                name: envoy.http.injected_credentials.generic
                typed_config:
                  "@type": {_EXTENSIONS}.http.injected_credentials.generic.v3.Generic
                  credential: {{ name: cred }}
          - name: envoy.filters.http.router
            typed_config: {{ "@type": {_EXTENSIONS}.filters.http.router.v3.Router }}
"""


def _envoy_tls(d: Path) -> str:
    return f"""
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": {_EXTENSIONS}.transport_sockets.tls.v3.UpstreamTlsContext
        sni: localhost
        common_tls_context: {{ validation_context: {{ trusted_ca: {{ filename: {d}/cert.pem }} }} }}
"""


def _origin_port(*, tls: bool) -> int:
    return origin.TLS_PORT if tls else origin.PORT
