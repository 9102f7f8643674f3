"""Prints what an installation is made of, as CycloneDX 1.5 JSON, from a lock file: the same one gives the same text.

`uv export` makes one too, but of `uv.lock`, which would be a second lock beside those that are installed from.
"""

import json
import sys
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from packaging.utils import canonicalize_name

from app import __version__
from scripts.locks import ROOT, Pin, pins_of


def component(pin: Pin) -> dict[str, Any]:
    """The hashes are those of all its files: which one is installed depends on the machine."""
    name = canonicalize_name(pin.name)
    purl = f"pkg:pypi/{name}@{pin.version}"
    found: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": name, "version": pin.version, "purl": purl}
    found["scope"] = "optional" if pin.marker else "required"
    found["hashes"] = [{"alg": "SHA-256", "content": each} for each in pin.hashes]
    if pin.marker:
        found["properties"] = [{"name": "signalbox:marker", "value": pin.marker}]
    return found


def document(lock: Path) -> str:
    own = f"pkg:pypi/signalbox@{__version__}"
    components = [component(pin) for pin in pins_of(lock)]
    serial = uuid5(NAMESPACE_URL, own + json.dumps(components))
    root = {"type": "application", "bom-ref": own, "name": "signalbox", "version": __version__, "purl": own}
    licensed = {**root, "licenses": [{"license": {"id": "Apache-2.0"}}]}
    body = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {"component": licensed},
        "components": components,
        "dependencies": [{"ref": own, "dependsOn": [each["bom-ref"] for each in components]}],
    }
    return json.dumps(body, indent=2)


if __name__ == "__main__":
    print(document(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "requirements" / "run.lock"))
