"""A kernel's TCP that sends a file of bytes and compares what `answer --echo` sends back.

usage: hello_client.py ADDRESS PORT FILE MSS SERVER [PREFIX IN HEX]
Prints one JSON object: milliseconds until the connection stood, and from then until the last byte was back.
"""

import json
import pathlib
import socket
import sys
import time


def main():
    address, port, path, mss, server = sys.argv[1:6]
    data = pathlib.Path(path).read_bytes()
    expected = server.encode() + b"\n" + bytes.fromhex("".join(sys.argv[6:])) + data
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(30)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if int(mss):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, int(mss))
        begin = time.monotonic()
        client.connect((address, int(port)))
        connected = time.monotonic()
        client.sendall(data)
        received = b""
        try:
            while len(received) < len(expected) and (piece := client.recv(65536)):
                received += piece
            fault = None if received == expected else f"{len(received)} bytes that are not the {len(expected)} expected"
        except OSError as error:
            fault = str(error)
        done = time.monotonic()
    print(json.dumps({"connect_ms": (connected - begin) * 1e3, "answer_ms": (done - connected) * 1e3, "fault": fault}))


main()
