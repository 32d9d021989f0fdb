"""HAProxy as a plain proxy, which checks nothing."""

from . import haproxy

NAME, LABEL = "haproxy-plain", "HAProxy"
VERIFIES = ()


def start(place):
    return haproxy.run(place, NAME, "")
