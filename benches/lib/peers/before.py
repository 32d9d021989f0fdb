"""Another build of the gateway (`--against`): what a change costs, in one run with the build of this checkout."""

from . import tollhouse

NAME, LABEL = "before", "Tollhouse before"
VERIFIES = tollhouse.VERIFIES


def start(place):
    """The other build, configured as this one; None where none was named."""
    return tollhouse.run(place, NAME, program=NAME) if NAME in place.programs else None


def start_forgetful(place):
    return tollhouse.start_forgetful(place, program=NAME) if NAME in place.programs else None
