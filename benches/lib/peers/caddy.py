"""Caddy as a plain proxy: its distribution verifies no tokens."""

from ..build import which
from ..processes import Server, free_ports

NAME, LABEL = "caddy", "Caddy"
VERIFIES = ()


def start(place):
    program = which("caddy")
    if not program:
        return None
    plain, tls = free_ports(2)
    proxy = f"""
  bind 127.0.0.1
  log {{
    output file {place.work}/caddy-access.log
  }}
  reverse_proxy 127.0.0.1:{place.upstream} {{
    transport http {{
      keepalive_idle_conns_per_host 512
    }}
  }}"""
    path = place.work / "Caddyfile"
    path.write_text(f"""
{{
  admin off
  auto_https off
  servers {{
    protocols h1 h2
    timeouts {{
      idle 10m
    }}
  }}
}}
http://:{plain} {{{proxy}
}}
https://:{tls} {{
  tls {place.work}/tls.pem {place.work}/tls.key{proxy}
}}
""")
    homes = {"HOME": str(place.work), "XDG_DATA_HOME": str(place.work), "XDG_CONFIG_HOME": str(place.work), "GOMAXPROCS": "2"}
    return Server(NAME, [program, "run", "--config", path, "--adapter", "caddyfile"], place.work, [plain, tls], homes)
