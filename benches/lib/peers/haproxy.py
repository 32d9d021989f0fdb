"""HAProxy that verifies every token by its `jwt_verify`: signature, `exp`, `nbf`, `aud`."""

from ..build import which
from ..processes import Server, free_ports

NAME, LABEL = "haproxy", "HAProxy `jwt_verify`"
VERIFIES = ("HS256", "RS256", "ES256")

CHECKS = """
  http-request set-var(txn.bearer) http_auth_bearer
  http-request set-var(txn.alg) http_auth_bearer,jwt_header_query('$.alg')
  http-request set-var(txn.exp) http_auth_bearer,jwt_payload_query('$.exp','int')
  http-request set-var(txn.nbf) http_auth_bearer,jwt_payload_query('$.nbf','int')
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 unless {{ var(txn.alg) -m str HS256 RS256 ES256 }}
  http-request deny deny_status 401 if {{ var(txn.alg) -m str HS256 }} !{{ var(txn.bearer),jwt_verify(txn.alg,"{secret}") -m int 1 }}
  http-request deny deny_status 401 if {{ var(txn.alg) -m str RS256 }} !{{ var(txn.bearer),jwt_verify(txn.alg,"{work}/RS256.pub") -m int 1 }}
  http-request deny deny_status 401 if {{ var(txn.alg) -m str ES256 }} !{{ var(txn.bearer),jwt_verify(txn.alg,"{work}/ES256.pub") -m int 1 }}
  http-request deny deny_status 401 if {{ var(txn.exp),sub(txn.now) -m int lt 0 }}
  http-request deny deny_status 401 if {{ var(txn.now),sub(txn.nbf) -m int lt 0 }}
  http-request deny deny_status 401 unless {{ http_auth_bearer,jwt_payload_query('$.aud') -m str bench }}
"""


def run(place, name, checks):
    program = which("haproxy")
    if not program:
        return None
    plain, tls = free_ports(2)
    config = f"""
global
  nbthread 2
  maxconn 15000
  no strict-limits
  tune.ssl.default-dh-param 2048
  log 127.0.0.1:9 local0
defaults
  mode http
  log global
  option httplog
  timeout connect 5s
  timeout client 600s
  timeout server 30s
  timeout http-keep-alive 600s
frontend front
  bind 127.0.0.1:{plain}
  bind 127.0.0.1:{tls} ssl crt {place.work}/haproxy.pem ssl-min-ver TLSv1.2 alpn h2,http/1.1
{checks}
  option forwardfor
  default_backend legacy
backend legacy
  http-reuse always
  server one 127.0.0.1:{place.upstream} pool-max-conn 512
"""
    path = place.work / f"{name}.cfg"
    path.write_text(config)
    return Server(name, [program, "-db", "-f", path], place.work, [plain, tls])


def start(place):
    return run(place, NAME, CHECKS.format(work=place.work, secret=(place.work / "secret").read_text()))
