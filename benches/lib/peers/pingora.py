"""A proxy on Pingora that verifies every token by jsonwebtoken; see benches/pingora."""

from ..processes import Server, free_ports

NAME, LABEL = "pingora", "Pingora + jsonwebtoken"
VERIFIES = ("HS256", "RS256", "ES256")


def start(place):
    program = place.programs.get("pingora")
    if not program:
        return None
    plain, tls = free_ports(2)
    return Server(NAME, [program, place.work, place.upstream, plain, tls], place.work, [plain, tls])
