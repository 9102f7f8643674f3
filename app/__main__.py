"""`python -m app` is `signalbox`."""

from app.cli import main

main(prog_name="signalbox")
