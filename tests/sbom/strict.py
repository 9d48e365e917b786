"""Validates a CycloneDX document with the strict schema and reads it: strict.py FILE.

Prints one line for each thing that is wrong, and fails if there is any.
"""

import json
import sys

from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

with open(sys.argv[1], encoding="utf-8") as file:
    text = file.read()
wrong = []
errors = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text, all_errors=True)
wrong += [f"{error.data.json_path}: {error.data.message}" for error in errors or []]
if not wrong:
    document = json.loads(text)
    # Reading also refuses a dependency on a component that is not there.
    bom = Bom.from_json(document)
    bom.validate()
    for component in [document["metadata"]["component"], *document["components"]]:
        read = PackageURL.from_string(component["purl"])
        again = PackageURL.from_string(read.to_string())
        if read != again or read.to_string().replace("/", "%2F") != component["purl"].replace("/", "%2F"):
            wrong.append(f"{component['purl']} is read as {read.to_string()}")
print("\n".join(wrong) if wrong else "valid")
sys.exit(1 if wrong else 0)
