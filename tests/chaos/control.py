"""HTTP to change a running proxy: `GET` and `POST /toxics`, `DELETE /toxics/NAME`, `POST /clear`, `POST /cut`."""

import asyncio
from dataclasses import asdict
from urllib.parse import unquote

from tests.chaos.line import Asked, Line
from tests.chaos.proxy import TcpProxy
from tests.chaos.toxics import toxic


class Control:
    def __init__(self, proxy: TcpProxy) -> None:
        self._proxy = proxy

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(reader, writer, 0)
        try:
            while (asked := await line.request()) is not None:
                await self._answer(asked, line)
        except ConnectionError:
            pass
        finally:
            line.close()

    async def _answer(self, asked: Asked, line: Line) -> None:
        match asked.method, asked.path.strip("/").split("/"):
            case "POST", ["toxics"]:
                try:
                    await self._proxy.add(toxic(asked.body.decode().strip()))
                except ValueError as error:
                    await line.answer({"error": str(error)}, "400 No")
                    return
            case "DELETE", ["toxics", name]:
                await self._proxy.remove(unquote(name))
            case "POST", ["clear"]:
                await self._proxy.clear()
            case "POST", ["cut"]:
                self._proxy.cut()
            case "GET", ["toxics"]:
                pass
            case _:
                await line.answer({"error": "not here"}, "404 No")
                return
        toxics = {name: asdict(each) for name, each in self._proxy.toxics.items()}
        await line.answer({"toxics": toxics, "open": self._proxy.open, "passed": self._proxy.passed})
