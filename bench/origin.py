"""Origin: the nginx behind all contenders; a small JSON answer, over TLS and in plain, if it gets a credential."""

from pathlib import Path

from bench.processes import Process, Processes, cores, require_free
from bench.scratch import write

PORT, TLS_PORT = 9000, 9443
PAYLOAD = (
    '{"id":"ch_123","object":"charge","amount":2000,"currency":"usd","paid":true,"status":"succeeded",'
    '"description":"A payload that is about the size of a small API answer","metadata":{"order":"6735"}}'
)


def base_url(*, tls: bool) -> str:
    """Give the URL under which contenders reach it."""
    return f"https://localhost:{TLS_PORT}" if tls else f"http://127.0.0.1:{PORT}"


def start(processes: Processes) -> Process:
    """Start it beside the load, and wait until it answers."""
    require_free(PORT, TLS_PORT)
    origin = processes.start("origin", f"nginx -c {_config(processes.scratch)}", cores()[1])
    origin.wait_until(f"http://127.0.0.1:{PORT}/up")
    return origin


def _config(d: Path) -> Path:
    # 401 without a credential: a contender that does not inject it is not measured, since it never gets a 200.
    return write(
        d / "origin.conf",
        f"""
worker_processes 1; daemon off; pid {d}/origin.pid; error_log /dev/null;
events {{ worker_connections 4096; }}
http {{
 access_log off; keepalive_requests 10000000; keepalive_timeout 600s;
 client_body_temp_path {d}/b; proxy_temp_path {d}/p; fastcgi_temp_path {d}/f;
 uwsgi_temp_path {d}/u; scgi_temp_path {d}/s;
 server {{
  listen 127.0.0.1:{PORT} reuseport; listen 127.0.0.1:{TLS_PORT} ssl reuseport;
  ssl_certificate {d}/cert.pem; ssl_certificate_key {d}/key.pem;
  location /up {{ return 200; }}
  location / {{
   if ($http_authorization = "") {{ return 401; }}
   default_type application/json;
   add_header X-RateLimit-Limit 5000000; add_header X-RateLimit-Remaining 4999999;
   add_header X-RateLimit-Reset 60;
   return 200 '{PAYLOAD}';
  }}
 }}
}}
""",
    )
