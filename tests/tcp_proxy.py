"""A TCP proxy on loopback whose network can be cut, stalled, or made to lose the replies."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

Mode = Literal["open", "cut", "stalled", "mute"]


class TcpProxy:
    """`open`: forwards. `cut`: closes every connection, old and new. `stalled`: forwards nothing. `mute`: forwards what
    clients send, and drops what the server replies.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port: int = self._listener.getsockname()[1]
        self.n_connections = 0
        self._mode: Mode = "open"
        self._forwarding = threading.Event()
        self._forwarding.set()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def set(self, mode: Mode) -> None:
        self._mode = mode
        if mode == "cut":
            self._drop()
        if mode == "stalled":
            self._forwarding.clear()
        else:
            self._forwarding.set()

    def close(self) -> None:
        self.set("cut")
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _drop(self) -> None:
        for pair in self._pairs:
            for each in pair:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                self.n_connections += 1
                self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        if self._mode == "cut":
            client.close()
            return
        try:
            server = socket.create_connection(self._target)
        except OSError:
            client.close()
            return
        self._pairs.append((client, server))
        threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
        threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, is_reply: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                self._forwarding.wait()
                if not (is_reply and self._mode == "mute"):
                    sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        source.close()


@contextmanager
def tcp_proxy(port: int) -> Iterator[TcpProxy]:
    proxy = TcpProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
