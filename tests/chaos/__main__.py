"""`python -m tests.chaos`, or `scripts/signalbox-chaos`: see `--help`, and README.md beside this file."""

import argparse
import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

from tests.chaos import provider
from tests.chaos.control import Control
from tests.chaos.proxy import proxy
from tests.chaos.run import runner
from tests.chaos.toxics import KINDS, Toxic, toxic


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="signalbox-chaos", description="What goes wrong around a gateway, on purpose."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("provider", help="a provider that misbehaves by the name of its model")
    serving.add_argument("--port", type=int, default=0, help="0 takes a free one, and prints it")
    serving.add_argument("--journal", type=Path, help="what was received and sent, a line each")
    serving.add_argument("--seed", type=int, default=1, help="for faults that hit a share (%(default)s)")
    proxying = commands.add_parser("proxy", help="a TCP proxy that damages what passes")
    proxying.add_argument("--listen", type=int, default=0, help="a port; 0 takes a free one")
    proxying.add_argument("--to", required=True, help="host:port")
    proxying.add_argument("--toxic", type=toxic, action="append", default=[], help="latency=200,jitter=50,stream=down")
    proxying.add_argument("--control", type=int, default=0, help="a port to change it by while it runs")
    proxying.add_argument("--seed", type=int, default=1, help="(%(default)s)")
    running = commands.add_parser("run", help="callers and faults at random around a real gateway, and an audit")
    running.add_argument(
        "--seed", type=int, help="what happens when follows from it; without, one is drawn and printed"
    )
    running.add_argument("--minutes", type=float, default=20, help="(%(default)g)")
    running.add_argument("--mix", choices=["chaos", "soak"], default="chaos", help="bursts, or few faults all the time")
    running.add_argument("--callers", type=int, default=24, help="(%(default)s)")
    running.add_argument("--rate", type=float, default=100, help="plays a second (%(default)g)")
    running.add_argument("--keep", type=Path, help="a directory for the log and the settings of the gateway")
    running.add_argument("--plan", action="store_true", help="print what would happen when, and do nothing")
    commands.add_parser("list", help="every misbehaviour and every toxic")
    return parser.parse_args()


async def proxied(listen: int, to: str, toxics: list[Toxic], control: int, seed: int) -> None:
    host, _, port = to.rpartition(":")
    async with proxy(host, int(port), listen=listen, seed=seed) as made:
        for each in toxics:
            await made.add(each)
        server = await asyncio.start_server(Control(made).serve, "127.0.0.1", control)
        say(f"127.0.0.1:{made.port} -> {to}, control on 127.0.0.1:{server.sockets[0].getsockname()[1]}")
        if sys.stdin.isatty():
            await server.serve_forever()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def ran(asked: argparse.Namespace) -> int:
    """0 where everything added up."""
    seed = asked.seed if asked.seed is not None else secrets.randbelow(10**6)
    plan = runner.Plan(
        seed=seed, seconds=asked.minutes * 60, mix=asked.mix, callers=asked.callers, plays_per_second=asked.rate
    )
    if asked.plan:
        say("\n".join(map(str, plan.steps())))
        return 0
    with tempfile.TemporaryDirectory(prefix="chaos-") as made:
        directory = asked.keep or Path(made)
        directory.mkdir(parents=True, exist_ok=True)
        found = asyncio.run(runner.run(directory, plan, say))
    well = runner.told(found, say)
    if not well:
        say(f"once more: signalbox-chaos run --seed {seed} --minutes {asked.minutes:g} --mix {asked.mix}")
    return 0 if well else 1


def main() -> int:
    asked = arguments()
    try:
        match asked.command:
            case "provider":
                asyncio.run(provider.serve(asked.port, asked.journal, asked.seed))
            case "proxy":
                asyncio.run(proxied(asked.listen, asked.to, asked.toxic, asked.control, asked.seed))
            case "run":
                return ran(asked)
            case _:
                say(provider.listing())
                say("\n".join(f"{kind:<18} {', '.join(values) or '-'}" for kind, values in KINDS.items()))
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
