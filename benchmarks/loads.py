"""The loads: what is asked, how often, by how many at once."""

import msgspec

COUNTER = b"00000000"

Json = dict[str, object]


class Load(msgspec.Struct, frozen=True):
    """One way to ask; the load generator does the asking."""

    name: str
    title: str
    model: str = "mock-gpt"
    size: int = 1024
    stream: bool = False
    connections: int = 64
    rate: int = 0
    """Requests a second whatever the answers take; 0: each connection asks as soon as it is answered."""
    requests: int = 0
    """So many and no more; 0: for as long as the round lasts."""
    hits: bool = False
    """The same question again and again, for caches; otherwise no question comes twice."""

    def at_once(self) -> "Load":
        """The same from an upstream that does not take its time."""
        return msgspec.structs.replace(self, model="mock-gpt")

    def body(self, model: str) -> bytes:
        """A question of exactly `size` bytes to `model`, with `COUNTER` where the generator counts."""
        question: Json = {
            "model": model,
            "messages": [
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": ""},
            ],
            "temperature": 0.7,
            "max_tokens": 256,
        }
        if self.stream:
            question["stream"] = True
        head, _, tail = msgspec.json.encode(question).rpartition(b'"content":""')
        room = self.size - len(head) - len(tail) - len(b'"content":""')
        text = COUNTER + b" The quick brown fox jumps over the lazy dog." * (room // 45 + 1)
        return head + b'"content":"' + text[: max(room, len(COUNTER))] + b'"' + tail


SATURATION = Load("json-1k", "JSON, 1 KB, 64 connections")
BURST = Load(
    "stream-burst", "500 streams opened at once", model="mock-slow", stream=True, connections=500, requests=500
)

LOADS = (
    SATURATION,
    Load("json-10k", "JSON, 10 KB, 64 connections", size=10_240),
    Load("json-100k", "JSON, 100 KB, 64 connections", size=102_400),
    Load("rate-1000", "JSON, 1 KB, 1,000 requests a second", rate=1000),
    Load("think-50", "JSON, 1 KB, 64 connections, upstream thinks for 50 ms", model="mock-think"),
    Load("hit-1k", "JSON, 1 KB, 64 connections, the answer is in the cache", hits=True),
    Load(
        "stream-paced", "500 streams at a time, an event every 20 ms", model="mock-slow", stream=True, connections=500
    ),
    Load("stream-rate", "300 new streams a second", model="mock-slow", stream=True, connections=1000, rate=300),
    BURST,
)
