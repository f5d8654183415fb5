"""ClientHellos: made by OpenSSL, then changed into what other clients send (RFC 8446 4.1.2)."""

import ssl
import struct

MLKEM_SHARE_BYTES = 1216  # X25519MLKEM768: draft-ietf-tls-ecdhe-mlkem
SERVER_NAME, KEY_SHARE, PADDING, ECH, GREASE = 0, 51, 21, 0xfe0d, 0x3a3a


def made_by_openssl(name, alpn=()):
    """The first bytes of this machine's OpenSSL, as one record."""
    context = ssl.create_default_context()
    if alpn:
        context.set_alpn_protocols(list(alpn))
    out = ssl.MemoryBIO()
    connection = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    try:
        connection.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return out.read()


def changed(hello, post_quantum=False, grease=False, ech=0, bytes_in_all=0, record_bytes=16384):
    """With a post-quantum key share, GREASE (RFC 8701), so many bytes of an encrypted hello, padded
    (RFC 7685) to `bytes_in_all`, and cut into records of `record_bytes`."""
    head, suites, rest, extensions = parse(hello)
    if grease:
        suites = b"\x1a\x1a" + suites
        extensions = [(GREASE, b"")] + extensions
    if post_quantum:
        extensions = [(kind, with_share(body) if kind == KEY_SHARE else body) for kind, body in extensions]
    if ech:
        extensions.append((ECH, b"\0" + bytes(i * 7 & 255 for i in range(ech - 1))))
    made = build(head, suites, rest, extensions, record_bytes)
    if bytes_in_all:
        # One record header a record: counted by building it twice.
        for _ in range(3):
            missing = bytes_in_all - len(made)
            old = next((len(body) for kind, body in extensions if kind == PADDING), -4)
            extensions = [one for one in extensions if one[0] != PADDING] + [(PADDING, bytes(old + missing))]
            made = build(head, suites, rest, extensions, record_bytes)
            if len(made) == bytes_in_all:
                break
        assert len(made) == bytes_in_all, (len(made), bytes_in_all)
    return made


def parse(hello):
    body = hello[9:]  # behind the headers of record and message
    at = 34
    at += 1 + body[at]
    head = body[:at]
    suites_bytes = struct.unpack_from(">H", body, at)[0]
    suites = body[at + 2:at + 2 + suites_bytes]
    at += 2 + suites_bytes
    rest = body[at:at + 1 + body[at]]
    at += len(rest) + 2
    extensions = []
    while at < len(body):
        kind, size = struct.unpack_from(">HH", body, at)
        extensions.append((kind, body[at + 4:at + 4 + size]))
        at += 4 + size
    return head, suites, rest, extensions


def with_share(body):
    share = struct.pack(">HH", 0x11ec, MLKEM_SHARE_BYTES) + bytes(i * 31 & 255 for i in range(MLKEM_SHARE_BYTES))
    return struct.pack(">H", len(body) - 2 + len(share)) + share + body[2:]


def build(head, suites, rest, extensions, record_bytes):
    block = b"".join(struct.pack(">HH", kind, len(body)) + body for kind, body in extensions)
    body = head + struct.pack(">H", len(suites)) + suites + rest + struct.pack(">H", len(block)) + block
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"".join(b"\x16\x03\x01" + struct.pack(">H", len(piece)) + piece
                    for piece in (message[i:i + record_bytes] for i in range(0, len(message), record_bytes)))
