"""Redis in company: with TLS, watched by Sentinel, as a cluster; real processes on loopback, ended with the test."""

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import trustme

from tests.support.processes import PATIENCE_SECONDS, free_port, redis_server

needs_redis = pytest.mark.skipif(redis_server() is None, reason="no redis-server on this machine")
SERVICE = "mymaster"
SLOTS = 16384


class RedisProcess:
    """One server, sentinels too; `client` speaks to it past the gateway."""

    def __init__(self, directory: Path, *arguments: str, port: int | None = None, config: Path | None = None) -> None:
        self.port = port or free_port()
        directory.mkdir(parents=True, exist_ok=True)
        first = [str(config)] if config else []
        self._command = [str(redis_server()), *first, "--port", str(self.port), "--dir", str(directory), *arguments]
        self.client = redis.Redis(port=self.port, socket_timeout=PATIENCE_SECONDS)
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        _wait_for_port(self.port)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        self.client.close()
        self.kill()


@contextmanager
def redis_with_tls(directory: Path, authority: trustme.CA) -> Iterator[str]:
    """Its address; the certificate is for 127.0.0.1, and none is asked of callers."""
    port = free_port()
    issued = authority.issue_cert("127.0.0.1")
    certificate, key, trusted = directory / "cert.pem", directory / "key.pem", directory / "trusted.pem"
    issued.cert_chain_pems[0].write_to_path(str(certificate))
    issued.private_key_pem.write_to_path(str(key))
    authority.cert_pem.write_to_path(str(trusted))
    files = ["--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-cert-file", str(trusted)]
    command = [str(redis_server()), "--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no", *files]
    process = subprocess.Popen([*command, "--save", "", "--dir", str(directory)], stdout=subprocess.DEVNULL)
    try:
        _wait_for_port(port)
        yield f"rediss://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait()


@contextmanager
def watched_by_sentinel(directory: Path) -> Iterator[tuple[RedisProcess, RedisProcess, str]]:
    """A master, its replica, and the address of a sentinel that takes a second to find a master dead."""
    with ExitStack() as stack:
        usual = ("--save", "", "--repl-diskless-sync-delay", "0")
        master = RedisProcess(directory / "master", *usual)
        stack.callback(master.end)
        replica = RedisProcess(directory / "replica", *usual, "--replicaof", "127.0.0.1", str(master.port))
        stack.callback(replica.end)
        _until(lambda: replica.client.info("replication")["master_link_status"] == "up")
        config = directory / "sentinel.conf"
        config.write_text(
            f"sentinel monitor {SERVICE} 127.0.0.1 {master.port} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} 1000\nsentinel failover-timeout {SERVICE} 3000\n"
        )
        sentinel = RedisProcess(directory / "sentinel", "--sentinel", config=config)
        stack.callback(sentinel.end)
        _until(lambda: sentinel.client.sentinel_slaves(SERVICE))
        yield master, replica, f"redis+sentinel://127.0.0.1:{sentinel.port}/{SERVICE}/0"


class RedisClusterProcesses:
    """Three masters, and a replica of the first; a master is found dead after a second."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._bus: dict[int, int] = {}
        self.nodes = [self._node(directory / str(number), stack) for number in range(4)]
        self.masters = self.nodes[:3]
        for number, node in enumerate(self.masters):
            first, last = SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1
            node.client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
            node.client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            self.nodes[0].client.execute_command("CLUSTER MEET", "127.0.0.1", node.port, self._bus[node.port])
        _until(lambda: all(self._knows(node) == 4 for node in self.nodes))
        self.nodes[3].client.execute_command("CLUSTER REPLICATE", self.id_of(self.nodes[0]))
        _until(lambda: all(self._is_well(node) for node in self.nodes))
        _until(lambda: self.nodes[3].client.info("replication")["master_link_status"] == "up")
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[1:3])

    def _node(self, directory: Path, stack: ExitStack) -> RedisProcess:
        bus = free_port()
        arguments = ["--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-node-timeout", "1000"]
        node = RedisProcess(directory, *arguments, "--save", "", "--repl-diskless-sync-delay", "0")
        self._bus[node.port] = bus
        stack.callback(node.end)
        return node

    def id_of(self, node: RedisProcess) -> str:
        return str(node.client.execute_command("CLUSTER MYID").decode())

    def move(self, name: bytes) -> None:
        """The slot of `name`, and with it the one key that is there, to another master."""
        slot, holder = self._slot_and_holder(name)
        source = next(node for node in self.masters if self.id_of(node) == holder)
        target = next(node for node in self.masters if self.id_of(node) != holder)
        target.client.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", holder)
        source.client.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", self.id_of(target))
        source.client.execute_command("MIGRATE", "127.0.0.1", target.port, name, 0, 5000)
        for node in (target, source):
            node.client.execute_command("CLUSTER SETSLOT", slot, "NODE", self.id_of(target))

    def _slot_and_holder(self, name: bytes) -> tuple[int, str]:
        slot = self.nodes[1].client.execute_command("CLUSTER KEYSLOT", name)
        for first, last, owner, *_ in self.nodes[1].client.execute_command("CLUSTER SLOTS"):
            if first <= slot <= last:
                return slot, owner[2].decode()
        raise AssertionError("nobody has the slot")

    def _info(self, node: RedisProcess) -> dict[str, Any]:
        answer: Any = node.client.execute_command("CLUSTER INFO")
        if isinstance(answer, dict):
            return answer
        return dict(line.split(":") for line in answer.decode().split())

    def _knows(self, node: RedisProcess) -> int:
        return int(self._info(node)["cluster_known_nodes"])

    def _is_well(self, node: RedisProcess) -> bool:
        return bool(self._info(node)["cluster_state"] == "ok" and int(self._info(node)["cluster_size"]) == 3)


@contextmanager
def redis_cluster(directory: Path) -> Iterator[RedisClusterProcesses]:
    with ExitStack() as stack:
        yield RedisClusterProcesses(directory, stack)


def _wait_for_port(port: int) -> None:
    def answers() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            return False
        return True

    _until(answers)


def _until(happened: Any) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < deadline, "the servers are not ready in time"
        time.sleep(0.05)
