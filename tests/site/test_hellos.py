"""ClientHellos in every shape, through server names to real kernels behind: each is routed, byte by byte as it was
sent, or refused by name in a bounded time."""

import itertools
import json
import pathlib
import struct

import pytest

from sluice_site import hello, host, layout, objects

PORT = 443
VIP = f"{layout.vip(1)}:{PORT}"
SHOP, MAIL = "shop.example", "mail.example"  # equally long: one hello can become the other
SEGMENT = 1400
CLIENT = pathlib.Path(hello.__file__).parent / "hello_client.py"
HELLO_TIMEOUT_MS = 1500


@pytest.fixture
def site(make_site):
    made = make_site(sample=16)  # thousands of connections look alike
    made.start_appliance()
    return made


def serve(site, hello_timeout=HELLO_TIMEOUT_MS, **cluster):
    """shop.example at web-1, mail.example at web-2: servers that send back what they get."""
    shop, mail = layout.ORIGINS[:2]
    site.apply([objects.node(),
                *objects.named_service("shop", 1, PORT, layout.ECHO_PORT, [shop], domains=[SHOP], cluster=cluster,
                                       sluice={"hello_timeout": hello_timeout}),
                *objects.named_service("mail", 1, PORT, layout.ECHO_PORT, [mail], "shop", domains=[MAIL], cluster=cluster,
                                       sluice={"hello_timeout": hello_timeout})])


def ordinary(name):
    return hello.made_by_openssl(name, ["h2", "http/1.1"])


def post_quantum(name, **more):
    return hello.changed(ordinary(name), post_quantum=True, grease=True, ech=300, **more)


def pieces(*cuts):
    """[offset, length] between neighbouring cuts, none longer than a segment."""
    for first, end in zip(cuts, cuts[1:]):
        for at in range(first, end, SEGMENT):
            yield [at, min(SEGMENT, end - at)]


def number(cases, first_port=2000):
    for at, case in enumerate(cases):
        case["port"] = first_port + at
    return cases


def answered(server, *echo):
    return {"server": server, "echo": [list(piece) if isinstance(piece, tuple) else piece for piece in echo]}


def run_all(site, blobs, cases, **options):
    result = site.chx(VIP, blobs, cases, **options)
    assert result["right"] == len(cases) and not result["faults"], (result["outcomes"], result["faults"][:5])
    assert result["ring_full"] == result["send_failed"] == 0, result
    return result


def test_a_hello_cut_at_every_byte_reaches_its_endpoint(site):  # SP-01
    serve(site)
    made = [ordinary, post_quantum, lambda name: hello.changed(ordinary(name), grease=True, ech=186, record_bytes=90)]
    blobs = [make(name) for make in made for name in (SHOP, MAIL)]
    cases = []
    for blob, data in enumerate(blobs):
        server = layout.ORIGINS[blob % 2].name
        for cut in range(1, len(data)):
            cases.append({"id": f"hello {blob} cut at {cut}", "steps": [[*piece, blob] for piece in pieces(0, cut, len(data))],
                          "expect": answered(server, (0, len(data), blob))})
        cases.append({"id": f"hello {blob} byte by byte", "steps": [[at, 1, blob] for at in range(len(data))],
                      "expect": answered(server, (0, len(data), blob))})
    result = run_all(site, blobs, number(cases))
    print(f"{len(cases)} hellos of {sorted(map(len, blobs))} bytes in {result['seconds']:.1f} s")
    assert site.drops().get("reject.hello_malformed", 0) == 0


def test_every_order_of_four_segments_with_overlaps_gaps_and_repetitions(site):  # SP-02
    serve(site)
    data = post_quantum(SHOP)
    cuts = [0, 500, 1000, 1500, len(data)]
    cases = []
    for order, overlap, repeated in itertools.product(itertools.permutations(range(4)), range(-3, 4), ("none", "first", "last", "all")):
        parts = [[cuts[i], min(cuts[i + 1] + overlap, len(data)) - cuts[i]] for i in range(4)]
        if overlap < 0:
            parts[3][1] = len(data) - cuts[3]
        steps = [parts[i] for i in order]
        steps = {"none": steps, "first": steps[:1] + steps, "last": steps[:3] + steps[3:] * 2,
                 "all": [part for part in steps for _ in range(2)]}[repeated]
        if overlap < 0:  # the gaps come last
            steps = steps + [[cuts[i + 1] + overlap, -overlap] for i in range(3)]
        cases.append({"id": f"order {order} overlap {overlap} repeated {repeated}", "steps": steps,
                      "expect": answered("web-1", (0, len(data)))})
    run_all(site, [data], number(cases))


def test_where_segments_contradict_each_other_the_endpoint_gets_what_was_parsed(site, dice):  # SP-02
    serve(site)
    shop = ordinary(SHOP)
    blobs = [shop, shop.replace(SHOP.encode(), MAIL.encode())]
    assert blobs[1] != shop and len(blobs[1]) == len(shop)
    name_at = shop.index(SHOP.encode())
    cases, outcomes = [], set()
    for number_of_case in range(600):
        steps = []
        for _ in range(dice.randrange(1, 6)):
            # Around the name, where they differ.
            first = max(0, name_at + dice.randrange(-6, 5))
            end = min(len(shop), name_at + dice.randrange(1, 8)) if dice.random() < 0.8 else len(shop)
            if first < end:
                steps.append([first, end - first, dice.randrange(2)])
        steps.append([0, len(shop), dice.randrange(2)])
        steps.append([0, len(shop), dice.randrange(2)])  # too late for anything
        # The first copy of a byte counts.
        parsed = [None] * len(shop)
        for first, length, blob in steps:
            for at in range(first, first + length):
                parsed[at] = blobs[blob][at] if parsed[at] is None else parsed[at]
        parsed = bytes(parsed)
        name = parsed[name_at:name_at + len(SHOP)].decode()
        server = {SHOP: "web-1", MAIL: "web-2"}.get(name)
        outcomes.add(server)
        cases.append({"id": f"case {number_of_case}: {name} of {steps}", "steps": steps,
                      "expect": answered(server, parsed.hex()) if server else "alert"})
    assert outcomes == {"web-1", "web-2", None}
    run_all(site, blobs, number(cases))


def ask(site, tmp_path, data, server, mss=0, prefix="", vip=layout.vip(1)):
    """A hello of a kernel's TCP."""
    path = tmp_path / "hello"
    path.write_bytes(data)
    done = host.run_in(site.network.namespace("client-1"), "/usr/bin/python3", CLIENT, vip, PORT, path, mss, server, prefix)
    result = json.loads(done.stdout)
    assert result["fault"] is None, result
    return result


def test_a_segment_of_a_hello_lost_several_times_is_waited_for(site, tmp_path):  # SP-03, SP-04
    serve(site, hello_timeout=10_000)  # three losses take 1.4 s of the kernel's timer, and more on a busy machine
    data = post_quantum(SHOP)
    for early_retransmit, segment, times in itertools.product((3, 0), (1, 2), (1, 2, 3)):
        site.network.sysctl("client-1", net__ipv4__tcp_early_retrans=early_retransmit)
        relay = site.impair(layout.OUTSIDE, drop=[f"segment={segment} times={times} from=right"])
        result = ask(site, tmp_path, data, "web-1")
        assert relay.finish()["from_right"]["dropped_by_rule"] == times
        print(f"segment {segment} lost {times} times: {result['answer_ms']:.0f} ms")
        assert result["answer_ms"] < (3000 if times == 3 else 1000), result


def test_long_hellos_of_a_kernel_and_of_chx(site, tmp_path):  # SP-05
    serve(site)
    long = hello.changed(ordinary(SHOP), bytes_in_all=11_418)
    longest = hello.changed(ordinary(SHOP), bytes_in_all=16_384)
    in_records = hello.changed(ordinary(SHOP), bytes_in_all=16_384, record_bytes=820)
    site.impair(layout.OUTSIDE, delay_us=5000)  # a round trip of 10 ms
    for data, mss in ((long, 536), (longest, 1460), (in_records, 1460), (in_records, 536)):
        result = ask(site, tmp_path, data, "web-1", mss)
        round_trips = 2 if mss == 1460 else 3  # ten segments of 536 bytes fill the first window only twice
        # The endpoint sends all of it back: one more round trip.
        print(f"{len(data)} bytes at MSS {mss}: {result['answer_ms']:.0f} ms")
        assert result["answer_ms"] < (round_trips + 1) * 10 + 100, result
    site.impair(layout.OUTSIDE)
    blobs = [long, longest, in_records, hello.changed(ordinary(SHOP), bytes_in_all=16_385)]
    cases = []
    for blob, data in enumerate(blobs):
        for size in (524, 1400):
            steps = [[at, min(size, len(data) - at), blob] for at in range(0, len(data), size)]
            expect = "reset" if len(data) > 16_384 else answered("web-1", (0, len(data), blob))
            cases.append({"id": f"{len(data)} bytes by {size}", "mss": 536 if size == 524 else 1460, "steps": steps, "expect": expect})
    run_all(site, blobs, number(cases))
    assert site.drops()["reject.hello_too_long"] == 2


LOSSES = {  # SP-06: where, what, and milliseconds from the client's handshake to the answer
    "two-syn-acks": (layout.OUTSIDE, "syn-ack times=2 from=left", 100),
    "the-clients-ack": (layout.OUTSIDE, "ack from=right", 100),
    "our-syns": (layout.INSIDE_A, "syn times=2 from=left", 700),
    # A kernel that has answered a repeated SYN does not answer the next one within half a second; its own timer does.
    "the-endpoints-syn-acks": (layout.INSIDE_A, "syn-ack times=2 from=right", 1400),
    "the-hello-to-the-endpoint": (layout.INSIDE_A, "segment=1 times=2 from=left", 700),
    "the-endpoints-ack": (layout.INSIDE_A, "ack from=right", 700),
    "the-first-answer": (layout.INSIDE_A, "segment=1 times=2 from=right", 1100),
}


def test_losses_in_either_handshake_are_made_up_for(site, tmp_path):  # SP-06
    serve(site)
    for name, (subnet, rule, answer_ms) in LOSSES.items():
        relay = site.impair(subnet, drop=[rule])
        result = ask(site, tmp_path, ordinary(SHOP), "web-1")
        counts = relay.finish()
        side = "from_left" if "from=left" in rule else "from_right"
        print(f"{name}: {result['connect_ms']:.0f} and {result['answer_ms']:.0f} ms")
        assert counts[side]["dropped_by_rule"] == (2 if "times=2" in rule else 1), (name, counts)
        assert result["answer_ms"] < answer_ms, (name, result)
        site.impair(subnet)  # the next loss is elsewhere


def test_what_is_no_tls_is_refused_by_name_and_silence_after_the_timeout(site, dice):  # SP-09
    serve(site)
    blobs = [b"\x80\x2e\x01\x03\x01" + bytes(43), b"SSH-2.0-OpenSSH_9.2p1\r\n", b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n",
             bytes([dice.choice([0, 1, 0x15, 0x17, 0x41, 0xff])]) + dice.randbytes(200), b"\x16\x04\x01" + bytes(200)]
    cases = [{"id": f"not TLS {blob}", "steps": [[0, len(data), blob]], "expect": "reset"} for blob, data in enumerate(blobs)]
    cases += [{"id": f"not TLS {blob}, a byte first", "steps": [[0, 1, blob], [1, len(data) - 1, blob]], "expect": "reset"}
              for blob, data in enumerate(blobs)]
    result = run_all(site, blobs, number(cases))
    assert result["since_open_us"]["max"] < HELLO_TIMEOUT_MS * 1000, result
    assert site.drops()["reject.not_tls"] == len(cases)
    # Clients that wait for the server to speak, or stop in the middle.
    blobs = [ordinary(SHOP)]
    cases = number([{"id": f"{count} bytes and silence", "steps": [[0, count]] if count else [], "expect": "reset"}
                    for count in (0, 1, 5, 100, 516)], 30000)
    result = run_all(site, blobs, cases)
    assert HELLO_TIMEOUT_MS * 1000 <= result["since_open_us"]["p50"] < (HELLO_TIMEOUT_MS + 700) * 1000, result
    assert {line["name"]: line["count"] for line in site.ask_dataplane("splices")["splices"]}["hello_timeout"] == len(cases)


def test_a_client_whose_sequence_numbers_wrap_in_its_hello(site, tmp_path):  # SP-14
    serve(site)
    data = post_quantum(SHOP)
    cases = [{"id": f"wraps at {at}", "isn": (1 << 32) - at, "steps": list(pieces(0, len(data))), "expect": answered("web-1", (0, len(data)))}
             for at in (*range(0, 24), 1000, *range(1390, 1410), *range(len(data) - 4, len(data) + 4))]
    for case in cases:
        case["isn"] %= 1 << 32
    run_all(site, [data], number(cases))


def proxy_header(version, source, port):
    vip = layout.vip(1)
    if version == "v1":
        return f"PROXY TCP4 {source} {vip} {port} {PORT}\r\n".encode()
    return (bytes.fromhex("0d0a0d0a000d0a515549540a") + b"\x21\x11\x00\x0c" + bytes(map(int, source.split("."))) +
            bytes(map(int, vip.split("."))) + struct.pack(">HH", port, PORT))


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_proxy_header_comes_exactly_once_however_the_hello_does(site, version):  # SP-18
    serve(site, **{f"proxy_protocol_{version}": {}})
    source = layout.EXTRA_SOURCES[0]
    source = f"{layout.OUTSIDE.v4}.{source}"
    data = post_quantum(SHOP)
    shapes = {
        "whole": list(pieces(0, len(data))),
        "byte by byte": [[at, 1] for at in range(len(data))],
        "first segment twice": [[0, SEGMENT], [0, SEGMENT], [SEGMENT, len(data) - SEGMENT]],
        "first byte thrice": [[0, 1], [0, 1], [0, 1], *pieces(1, len(data))],
        "backwards": list(pieces(0, len(data)))[::-1],
        "all again": list(pieces(0, len(data))) * 2,
        "all again, later": [*pieces(0, len(data)), {"wait_ms": 2}, *pieces(0, len(data))],
    }
    cases = []
    for at in range(10 * len(shapes)):
        name, steps = list(shapes.items())[at % len(shapes)]
        cases.append({"id": f"{name} {at}", "port": 3000 + at, "steps": steps,
                      "expect": answered("web-1", proxy_header(version, source, 3000 + at).hex(), (0, len(data)))})
    few = {"at_once": 4}  # thousands of packets each
    run_all(site, [data], cases, **few)
    # An endpoint that takes 536 bytes at a time.
    host.ip_batch(site.network.namespace("web-1"),
                  [f"route replace default via {layout.INSIDE_A.v4}.{layout.OWN_NUMBER} advmss 536",
                   f"route replace {layout.INSIDE_A.v4}.0/24 dev eth0 advmss 536"])
    for case in cases:
        case["port"] += 1000
        case["expect"]["echo"][0] = proxy_header(version, source, case["port"]).hex()
    run_all(site, [data], cases, **few)
