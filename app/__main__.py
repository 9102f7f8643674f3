"""`python -m app` is `signalbox`."""

import sys

from app import early


def main() -> None:
    """The command line; for a server signals are heeded before its imports."""
    if sys.argv[1:2] == ["serve"]:
        early.listen()
    from app import cli  # noqa: PLC0415 - signals may come while it is imported

    cli.main(prog_name="signalbox")


if __name__ == "__main__":
    main()
