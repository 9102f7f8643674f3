"""`python -m scripts.dashboards [DIRECTORY]`: the dashboards as JSON, each under its uid."""

import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from scripts.dashboards import cache, providers, service, system

DIRECTORY = Path(__file__).parents[2] / "docker" / "grafana" / "dashboards"


def main(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for module in (service, providers, cache, system):
        made = module.dashboard().build()
        text = JSONEncoder(indent=2, ensure_ascii=False).encode(made)
        (directory / f"{made.uid}.json").write_text(text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else DIRECTORY)
