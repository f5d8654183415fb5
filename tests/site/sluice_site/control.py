"""The control channel of both processes: "SLU1", a 32-bit little-endian length, a UTF-8 body."""

import json
import socket
import struct
import urllib.parse

MAGIC = b"SLU1"
REPLY_BYTES_MAX = 64 << 20


class ControlError(Exception):
    """The process answered {"ok": false}; `reply` holds all it said."""

    def __init__(self, reply):
        super().__init__("; ".join([reply.get("error", "refused without a reason")] + [
            error.get("message", "") for error in reply.get("errors", [])]))
        self.reply = reply


def frame(body):
    return MAGIC + struct.pack("<I", len(body)) + body


def _read_exactly(connection, count):
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise ConnectionError(f"closed after {len(data)} of {count} bytes")
        data += piece
    return data


class Control:
    def __init__(self, path, timeout=10.0):
        self.path = str(path)
        self.timeout = timeout

    def ask(self, verb, payload="", **arguments):
        """One request, one reply as a dict. ControlError when it is refused."""
        words = [verb] + [f"{key}={urllib.parse.quote(str(value), safe=':./-_')}"
                          for key, value in arguments.items()]
        body = " ".join(words).encode() + b"\n" + payload.encode()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.path)  # blocks while the listen queue is full
            connection.settimeout(self.timeout)
            connection.sendall(frame(body))
            reply = self.read_reply(connection)
        if not reply.get("ok"):
            raise ControlError(reply)
        return reply

    @staticmethod
    def read_reply(connection):
        header = _read_exactly(connection, 8)
        length = struct.unpack("<I", header[4:])[0]
        if header[:4] != MAGIC or length > REPLY_BYTES_MAX:
            raise ConnectionError(f"not a reply: {header!r}")
        return json.loads(_read_exactly(connection, length))

    def send_raw(self, data):
        """Sends any bytes and returns whatever comes back until the peer closes."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.path)  # blocks while the listen queue is full
            connection.settimeout(self.timeout)
            received = b""
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while piece := connection.recv(65536):
                    received += piece
            except (BrokenPipeError, ConnectionResetError):
                pass  # the peer closed early, which noise deserves
            return received
