"""Every case of tests/cases/config by the JSON Schema, compared with what the reader says of it.

What the reader takes has to be valid. What it refuses need not be invalid: the schema does not know what
depends on other keys, other sections or files. But a file with a fault that it does know, such as an unknown key,
has to be invalid.
"""

import json
import pathlib
import re
import sys
import tomllib

from jsonschema import Draft7Validator

DASHES = "\n" + "-" * 40 + "\n"
# What the reader says of a fault that the schema knows, too.
KNOWN = re.compile(r"no such key|no such choice|must be (?:true or false|a whole number|a list|a table|a string), not")


def main(schema, folder):
    validator = Draft7Validator(json.loads(pathlib.Path(schema).read_text()))
    valid = invalid = 0
    faults = []
    for case in sorted(pathlib.Path(folder).glob("*.toml")):
        toml, _, said = case.read_text().partition(DASHES)
        try:
            document = tomllib.loads(toml)
        except tomllib.TOMLDecodeError:
            continue
        errors = list(validator.iter_errors(document))
        if said.startswith("ok"):
            valid += 1
            faults += [f"{case.name}: {error.json_path}: {error.message}" for error in errors]
        elif KNOWN.search(said):
            invalid += 1
            if not errors:
                faults.append(f"{case.name}: the schema finds nothing")
    print("\n".join(faults))
    assert not faults and valid > 25 and invalid > 10, f"{valid} valid, {invalid} invalid"


main(*sys.argv[1:])
