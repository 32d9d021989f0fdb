"""Keys, certificates and tokens for one run.

Each algorithm has an issuer of its own, because the gateway binds keys to issuers. The secret and
every key are made anew, live in the run's folder, and are gone with it.
"""

import secrets
import subprocess

ALGORITHMS = ("HS256", "RS256", "ES256")


def make(work):
    """Key files by algorithm (`RS256.key`, `RS256.pub`, `secret`), and one certificate."""
    run = lambda *words: subprocess.run([str(word) for word in words], check=True, capture_output=True)
    run("openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", work / "RS256.key")
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", work / "ES256.key")
    for alg in ("RS256", "ES256"):
        run("openssl", "pkey", "-in", work / f"{alg}.key", "-pubout", "-out", work / f"{alg}.pub")
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", work / "tls.key",
        "-out", work / "tls.pem")
    (work / "haproxy.pem").write_bytes((work / "tls.pem").read_bytes() + (work / "tls.key").read_bytes())
    (work / "secret").write_text(secrets.token_hex(36))
    for secret in ("RS256.key", "ES256.key", "tls.key", "haproxy.pem", "secret"):
        (work / secret).chmod(0o600)


def mint(load, work, alg, count):
    """The path of a file of `count` different tokens, one a line."""
    path = work / f"{alg}-{count}.tokens"
    if not path.exists():
        key = work / ("secret" if alg == "HS256" else f"{alg}.key")
        with open(path, "wb") as out:
            subprocess.run([load, "mint", alg, key, f"bench-{alg}", str(count)], check=True, stdout=out)
    return path


def token(load, work, alg):
    return mint(load, work, alg, 1).read_text().strip()


def forged(token):
    """The same claims under a signature that is none: only its first character differs."""
    head, signature = token.rsplit(".", 1)
    return f"{head}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"
