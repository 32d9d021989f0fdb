"""nginx that verifies tokens in JavaScript (njs).

HS256 in a variable, which is njs' quickest way; RS256 and ES256 by WebCrypto, which answers later,
so they need a subrequest (`auth_request`) and have a path of their own, /pk. njs keeps nothing
from one request to the next, so the public key is read anew each time.
"""

import json
import pathlib
import re

from ..processes import free_ports
from . import nginx

NAME, LABEL = "njs", "nginx + njs"
VERIFIES = ("HS256", "RS256", "ES256")

MODULE = pathlib.Path("/usr/lib/nginx/modules/ngx_http_js_module.so")

SCRIPT = """
import hashes from 'crypto';

const SECRET = %(secret)s;
const KEYS = {
  RS256: { der: %(RS256)s, key: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }, by: { name: 'RSASSA-PKCS1-v1_5' } },
  ES256: { der: %(ES256)s, key: { name: 'ECDSA', namedCurve: 'P-256' }, by: { name: 'ECDSA', hash: 'SHA-256' } },
};

function token(r) {
  const parts = r.headersIn.Authorization.slice('Bearer '.length).split('.');
  return { parts: parts, alg: JSON.parse(Buffer.from(parts[0], 'base64url')).alg };
}

function holds(parts) {
  const claims = JSON.parse(Buffer.from(parts[1], 'base64url'));
  const now = Date.now() / 1000;
  return parts.length === 3 && claims.exp > now && claims.nbf <= now && claims.aud === 'bench';
}

function by_secret(r) {
  try {
    const it = token(r);
    const mac = hashes.createHmac('sha256', SECRET).update(it.parts[0] + '.' + it.parts[1]).digest('base64url');
    return it.alg === 'HS256' && mac === it.parts[2] && holds(it.parts) ? '1' : '0';
  } catch (e) {
    return '0';
  }
}

async function by_key(r) {
  try {
    const it = token(r);
    const known = KEYS[it.alg];
    const key = await crypto.subtle.importKey('spki', Buffer.from(known.der, 'base64'), known.key, false, ['verify']);
    const signature = Buffer.from(it.parts[2], 'base64url');
    const signed = Buffer.from(it.parts[0] + '.' + it.parts[1]);
    const good = await crypto.subtle.verify(known.by, key, signature, signed);
    r.return(good && holds(it.parts) ? 204 : 401);
  } catch (e) {
    r.return(401);
  }
}

export default { by_secret, by_key };
"""


def start(place):
    if not MODULE.exists():
        return None
    der = lambda alg: json.dumps(re.sub(r"-----[^-]+-----|\s", "", (place.work / f"{alg}.pub").read_text()))
    values = {"secret": json.dumps((place.work / "secret").read_text()), "RS256": der("RS256"), "ES256": der("ES256")}
    (place.work / "auth.js").write_text(SCRIPT % values)
    locations = f"""
    location / {{ if ($token_holds != "1") {{ return 401; }} {nginx.PROXY} }}
    location /pk {{ auth_request /verify; {nginx.PROXY} }}
    location = /verify {{ internal; js_content auth.by_key; }}"""
    http = f"js_path {place.work}; js_import auth from auth.js; js_set $token_holds auth.by_secret;"
    return nginx.proxy(place, NAME, free_ports(2), locations, f"load_module {MODULE};", http)


def path(alg, path):
    """Where this peer verifies tokens of `alg`."""
    return path if alg == "HS256" else "/pk"
