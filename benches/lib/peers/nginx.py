"""nginx as a plain proxy, which checks nothing; and the upstream that all proxies share."""

import os

from ..build import which
from ..processes import Server, free_ports

NAME, LABEL = "nginx", "nginx"
VERIFIES = ()

HEAD = """
{modules}
daemon off; pid {work}/{name}.pid; error_log {work}/{name}.log warn; worker_processes {workers};
{user}
events {{ worker_connections 16384; }}
http {{
  access_log {log}; client_body_temp_path {work}/{name}-body; proxy_temp_path {work}/{name}-proxy;
  fastcgi_temp_path {work}/{name}-f; uwsgi_temp_path {work}/{name}-u; scgi_temp_path {work}/{name}-s;
  keepalive_requests 100000000; keepalive_timeout 600s; sendfile on; tcp_nopush on;
"""


def head(work, name, workers, log="off", modules=""):
    # The folder is root's where we are: workers of another user could not read it.
    user = "user root;" if os.geteuid() == 0 else ""
    return HEAD.format(work=work, name=name, workers=workers, log=log, user=user, modules=modules)


def run(name, config, place, ports):
    path = place.work / f"{name}.conf"
    path.write_text(config)
    return Server(name, [which("nginx"), "-c", path, "-e", place.work / f"{name}.log"], place.work, ports)


def upstream(place, listen=None):
    """A few bytes at /, 1 MiB at /1m; one worker, so that the proxies have the other core."""
    (place.work / "files").mkdir(exist_ok=True)
    (place.work / "files" / "1m").write_bytes(bytes(range(256)) * 4096)
    listen = listen or [f"127.0.0.1:{place.upstream} reuseport"]
    lines = "\n".join(f"    listen {one} backlog=4096;" for one in listen)
    config = head(place.work, "upstream", 1) + f"""
  server {{
{lines}
    location / {{ default_type application/json; return 200 '{{"ok":true}}\\n'; }}
    location = /1m {{ root {place.work}/files; }}
  }}
}}"""
    return run("upstream", config, place, [place.upstream]).wait()


PROXY = """proxy_pass http://legacy; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
      proxy_max_temp_file_size 0;"""


def proxy(place, name, ports, locations, modules="", http=""):
    plain, tls = ports
    config = head(place.work, name, 2, f"{place.work}/{name}-access.log combined buffer=64k flush=1s", modules) + f"""
  {http}
  upstream legacy {{ server 127.0.0.1:{place.upstream}; keepalive 512; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{plain} reuseport backlog=4096; listen 127.0.0.1:{tls} ssl http2 reuseport backlog=4096;
    http2_max_concurrent_streams 100;
    ssl_certificate {place.work}/tls.pem; ssl_certificate_key {place.work}/tls.key; ssl_protocols TLSv1.2 TLSv1.3;
    {locations}
  }}
}}"""
    return run(name, config, place, ports)


def start(place):
    return proxy(place, NAME, free_ports(2), f"location / {{ {PROXY} }}")
