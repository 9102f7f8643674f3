"""A provider that says what a test wants it to say, byte for byte, in a process of its own.

`python -m tests.support.provider` prints its port. Every model name has a script of its own, so tests that
run beside each other do not meet: `POST /_script/<model>` takes a list of answers, each a list of steps, the
last answer being repeated; `GET /_seen/<model>` tells what was asked. A model without a script is answered well.

Steps: {"send": base64}, {"sleep": seconds}, {"close": true}, {"abort": true}, {"hang": true}, {"gate": true} and
{"repeat": base64, "every": seconds}. A gate is passed once `POST /_open/<model>` was asked.
"""

import asyncio
import base64
import json
import sys
from collections import defaultdict
from typing import Any
from urllib.parse import unquote

WORDS = ("Hello", " there", ".")
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


class Seen:
    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.left = 0
        """Connections that were closed while an answer was under way."""
        self.sent = 0
        """Bytes of answers the other side's system has taken."""
        self.opened = asyncio.Event()


scripts: dict[str, list[list[dict[str, Any]]]] = {}
seen: defaultdict[str, Seen] = defaultdict(Seen)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while (request := await read(reader)) is not None:
            if not await answer(request, reader, writer):
                break
    except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass
    finally:
        writer.close()


async def read(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return {"method": method, "path": unquote(path), "headers": headers, "body": body.decode("utf-8", "replace")}


async def answer(request: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    path = request["path"]
    if path.startswith("/_script/"):
        scripts[path.removeprefix("/_script/")] = json.loads(request["body"])
        writer.write(whole({}))
        return True
    if path.startswith("/_open/"):
        seen[path.removeprefix("/_open/")].opened.set()
        writer.write(whole({}))
        return True
    if path.startswith("/_seen/"):
        asked = seen[path.removeprefix("/_seen/")]
        writer.write(whole({"requests": asked.requests, "left": asked.left, "sent": asked.sent}))
        return True
    row, *_ = path.strip("/").split("/")
    listing = path.endswith(("/models", "/api/version"))
    model = f"models-of-{row}" if listing else json.loads(request["body"] or "{}").get("model", "")
    seen[model].requests.append(request)
    steps = scripts.get(model)
    if steps is None:
        return await well(request, model, row, writer)
    here = steps.pop(0) if len(steps) > 1 else steps[0]
    return await play(here, seen[model], reader, writer)


async def play(
    steps: list[dict[str, Any]], asked: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    """Whether the connection is kept."""
    gone = asyncio.create_task(reader.read(1))
    try:
        for step in steps:
            if "close" in step or "abort" in step:
                if "abort" in step:
                    writer.transport.abort()
                return False
            if "gate" in step:
                await passed(asked.opened, gone)
            else:
                await take(step, asked, gone, writer)
            if gone.done():
                asked.left += 1
                return False
    except ConnectionError:
        asked.left += 1
        return False
    finally:
        gone.cancel()
        await asyncio.wait([gone])  # two may not read at once
    return True


async def passed(gate: asyncio.Event, gone: asyncio.Task[bytes]) -> None:
    opening = asyncio.create_task(gate.wait())
    await asyncio.wait([opening, gone], return_when=asyncio.FIRST_COMPLETED)
    opening.cancel()


async def take(step: dict[str, Any], asked: Seen, gone: asyncio.Task[bytes], writer: asyncio.StreamWriter) -> None:
    match step:
        case {"send": data}:
            await written(base64.b64decode(data), asked, writer)
        case {"sleep": seconds}:
            await asyncio.wait([gone], timeout=seconds)
        case {"repeat": data, "every": seconds}:
            again = base64.b64decode(data)
            while not gone.done():
                await written(again, asked, writer)
                await asyncio.wait([gone], timeout=seconds)
        case {"hang": _}:
            await gone


async def written(data: bytes, asked: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(data)
    await writer.drain()
    asked.sent += len(data)


async def well(request: dict[str, Any], model: str, row: str, writer: asyncio.StreamWriter) -> bool:
    path = request["path"]
    if path.endswith("/api/version"):
        writer.write(whole({"version": "0.5.1"}))
        return True
    if path.endswith("/models"):
        writer.write(whole({"object": "list", "data": [{"id": f"{row}-model", "owned_by": row, "context_length": 8}]}))
        return True
    body = json.loads(request["body"])
    if path.endswith("/embeddings"):
        inputs = body["input"] if isinstance(body["input"], list) and body["input"] else [body["input"]]
        if isinstance(inputs[0], int):
            inputs = [inputs]
        vector: Any = [0.5, -0.25]
        if body.get("encoding_format") == "base64":
            vector = base64.b64encode(bytes.fromhex("0000003f000080be")).decode()
        data = [{"object": "embedding", "index": index, "embedding": vector} for index, _ in enumerate(inputs)]
        usage = {"prompt_tokens": 5, "total_tokens": 5}
        writer.write(whole({"object": "list", "model": model, "data": data, "usage": usage}))
    elif body.get("stream"):
        writer.write(STREAM_HEAD)
        for event in stream_of(body, model):
            writer.write(chunk(event))
            await writer.drain()
            await asyncio.sleep(0.002)
        writer.write(b"0\r\n\r\n")
    else:
        writer.write(whole(document(path, model, body)))
    return True


def document(path: str, model: str, body: dict[str, Any]) -> dict[str, Any]:
    text = "".join(WORDS)
    if path.endswith("chat/completions"):
        if body.get("tools"):
            call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
            choice = {"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [call]}}
            choice["finish_reason"] = "tool_calls"
        else:
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        kind = "chat.completion"
    else:
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}
        kind = "text_completion"
    made = {"id": "x-1", "object": kind, "created": 1, "model": model, "choices": [choice], "usage": USAGE}
    return made | {"x_unknown": {"kept": True}}


def stream_of(body: dict[str, Any], model: str) -> list[bytes]:
    base = {"id": "x-1", "object": "chat.completion.chunk", "created": 1, "model": model}
    events = []
    for index, word in enumerate(WORDS):
        delta = {"role": "assistant", "content": word} if index == 0 else {"content": word}
        events.append(base | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}], "usage": None})
    events.append(base | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": None})
    if (body.get("stream_options") or {}).get("include_usage"):
        events.append(base | {"choices": [], "usage": USAGE})
    encoded = [b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n" for event in events]
    return [*encoded, b"data: [DONE]\n\n"]


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def whole(document: Any, *, status: str = "200 OK", headers: str = "") -> bytes:
    body = json.dumps(document).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**20, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - how the parent learns the port
    # ends with its parent, however that ended
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
