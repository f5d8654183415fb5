// What the targets that run the whole pipeline have in common: a configuration with every way to forward, and packets that
// are sound, for libFuzzer to spoil.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "tests/traces/bed.h"
#include "tests/traces/script.h"

// Worlds are large and mostly untouched: they must not be kept to find late uses of them.
extern "C" [[gnu::used]] inline const char* __asan_default_options() { return "quarantine_size_mb=8"; }

namespace sluice::fuzz {

inline void require(bool holds, const std::string& what) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", what.c_str());
  std::abort();
}

inline trace::Model scene() {
  trace::Model model;
  for (const char* line :
       {"lcores 2", "flows 64", "splices 16", "exception on", "fragments datagrams 16 held 20000",
        "port outside 10.1.0.1/24 fd00:1::1/64", "port inside 10.2.0.1/24 fd00:2::1/64", "port green 10.3.0.1/24 fd00:3::1/64 vlan 100 on outside",
        "route 0.0.0.0/0 via 10.1.0.254", "route ::/0 via fd00:1::fe",
        "snat inside 10.2.0.100 fd00:2::100", "snat green 10.3.0.100 fd00:3::100 ports 2000-2015",
        "cluster web { endpoint 10.2.0.11:8080; endpoint 10.2.0.12:8080 weight 2; snat inside; }",
        "cluster web6 { endpoint [fd00:2::11]:8080; snat inside; choice hash; }", "cluster dns { endpoint 10.2.0.13:53; snat inside; choice least; }",
        "cluster direct { endpoint 10.2.0.14:80; forwarding nat; }", "cluster l2 { endpoint 10.2.0.15:80; forwarding dsr_l2; }",
        "cluster ipip { endpoint 10.2.0.16:80; forwarding dsr_ipip; }", "cluster gue { endpoint [fd00:2::17]:80; forwarding dsr_gue; }",
        "cluster tls { endpoint 10.2.0.18:8443; forwarding splice; snat inside; proxy v2; }",
        "cluster tls6 { endpoint [fd00:2::18]:8443; forwarding splice; snat inside; }",
        "cluster green { endpoint [fd00:3::12]:8080; snat green; }", "cluster far { endpoint 10.2.0.11:8081; snat inside; lb_port on; }",
        "cluster one { endpoint 10.2.0.19:5353; forwarding nat; }", "cluster quic { endpoint 10.2.0.20:443 server_id a1b2; endpoint 10.2.0.21:443 server_id c3d4; snat inside; }",
        "vip 10.9.0.1:80/tcp { cluster web; mss 1400; }", "vip 10.9.0.1:53/udp { cluster dns; }", "vip [fd00:9::1]:80/tcp { cluster web6; }",
        "vip [fd00:9::1]:53/udp { cluster dns; }", "vip 10.9.0.2:80/tcp { cluster direct; }", "vip 10.9.0.3:80/tcp { cluster l2; }",
        "vip 10.9.0.4:80/tcp { cluster ipip; }", "vip 10.9.0.4:80/udp { cluster ipip; }", "vip [fd00:9::5]:80/tcp { cluster gue; }",
        "vip [fd00:9::5]:80/udp { cluster gue; }", "vip 10.9.0.6:443/tcp { cluster tls; }",
        "vip 10.9.0.7:443/tcp { name a.example tls6; name *.b.example tls; }", "vip 10.9.0.8:80/tcp { cluster green; }",
        "vip [fd00:9::8]:80/tcp { cluster web; }", "vip 10.9.0.9:443/udp { cluster quic; quic 2/2; }",
        "vip 10.9.0.10:53/udp { cluster one; one_packet; }", "vip 10.9.0.11:80/tcp { cluster web; cookies; }",
        "vip 10.9.0.12:443/tcp { name a.example tls; proxied 203.0.113.0/24; }",
        "cluster dns6 { endpoint [fd00:2::19]:53; snat inside; }", "vip 10.9.0.12:53/udp { cluster dns6; }",
        "vip 10.9.0.16/28:*/tcp { cluster far; }"}) {
    const auto changed = model.change(trace::words_of(line));
    require(changed.has_value(), changed ? "" : std::string(line) + ": " + changed.error().message);
  }
  return model;
}

struct Sample {
  const char* text;
  std::uint16_t port;  // 3: the kernel's
};

inline constexpr Sample samples[] = {
    {"203.0.113.1:4000 > 10.9.0.1:80 tcp syn mss=1460", 0},
    {"203.0.113.1:4000 > 10.9.0.1:80 tcp ack seq=1001 len=30", 0},
    {"[2001:db8::1]:4000 > [fd00:9::1]:80 tcp syn mss=1440", 0},
    {"203.0.113.1:4000 > 10.9.0.1:53 udp len=30", 0},
    {"[2001:db8::1]:4000 > [fd00:9::1]:53 udp len=30", 0},
    {"203.0.113.1:4000 > 10.9.0.2:80 tcp syn", 0},
    {"203.0.113.1:4000 > 10.9.0.3:80 tcp syn", 0},
    {"203.0.113.1:4000 > 10.9.0.4:80 tcp syn", 0},
    {"203.0.113.1:4000 > 10.9.0.4:80 udp len=100", 0},
    {"[2001:db8::1]:4000 > [fd00:9::5]:80 tcp syn", 0},
    {"[2001:db8::1]:4000 > [fd00:9::5]:80 udp len=100", 0},
    {"203.0.113.1:4000 > 10.9.0.6:443 tcp syn seq=100 mss=1460 sackok=1 tsval=7000 tsecr=0 ws=8", 0},
    {"203.0.113.1:4000 > 10.9.0.7:443 tcp syn seq=100", 0},
    {"10.3.0.50:4000 > 10.9.0.8:80 tcp syn", 2},
    {"[2001:db8::1]:4000 > [fd00:9::8]:80 tcp syn ext=60", 0},
    {"203.0.113.1:4000 > 10.9.0.9:443 udp bytes=40a1b20102030405060708", 0},
    {"203.0.113.1:4000 > 10.9.0.10:53 udp len=40", 0},
    {"203.0.113.1:4000 > 10.9.0.11:80 tcp syn seq=100 mss=1460", 0},
    {"203.0.113.1:4000 > 10.9.0.17:8081 tcp syn", 0},
    {"203.0.113.1:4000 > 10.9.0.1:53 udp len=600 fid=7 piece=0-304", 0},
    {"203.0.113.1:4000 > 10.9.0.1:53 udp len=600 fid=7 piece=304-608", 0},
    {"[2001:db8::1]:4000 > [fd00:9::5]:80 udp len=600 fid=9 piece=304-608", 0},
    {"[2001:db8::1]:4000 > [fd00:9::5]:80 udp len=600 fid=9 piece=0-304", 0},
    {"203.0.113.1 > 10.9.0.1 icmp echo id=7", 0},
    {"2001:db8::1 > fd00:9::1 icmp echo id=7", 0},
    {"10.1.0.9 > 10.9.0.1 icmp type=3 code=4 mtu=1300 about 10.9.0.1:80 > 203.0.113.1:4000 tcp ack len=1400 quote=548", 0},
    {"2001:db8::1 > fd00:9::1 icmp type=2 mtu=1300 about [fd00:9::1]:80 > [2001:db8::1]:4000 tcp ack len=1200 quote=548", 0},
    {"arp request 10.9.0.1 tell 10.1.0.254", 0},
    {"arp reply 10.2.0.11 is 02:04:0a:02:00:0b tell 10.2.0.1", 1},
    {"nd solicit fd00:9::1 tell fd00:1::fe mac=02:06:00:00:00:fe", 0},
    {"nd advertise fd00:2::11 is 02:06:00:00:00:11 tell fd00:2::1", 1},
    {"10.2.0.14:80 > 203.0.113.1:4000 tcp syn ack", 1},
    {"10.2.0.19:5353 > 203.0.113.1:4000 udp len=20", 1},
    {"10.1.0.1:5000 > 10.2.0.11:8080 tcp syn", 3},
    {"203.0.113.1 > 10.9.0.1 proto 47", 0},
    {"203.0.113.1:4000 > 10.9.0.1:22 tcp ack", 0},
    {"203.0.113.1:4000 > 10.9.0.12:443 tcp syn seq=100 mss=1460", 0},
    {"203.0.113.1:4000 > 10.9.0.12:53 udp len=2952 fid=7 piece=0-1480", 0},
    {"203.0.113.1:4000 > 10.9.0.12:53 udp len=2952 fid=7 piece=1480-2960", 0},
    {"203.0.113.1:4000 > 10.9.0.12:53 udp len=1472 frag=0 sum=none", 0},
    {"[2001:db8::1]:4000 > [fd00:9::1]:53 udp len=600 fid=9 piece=0-304", 0},
    {"[2001:db8::1]:4000 > [fd00:9::1]:53 udp len=600 fid=9 piece=304-608", 0},
    {"[2001:db8::1]:4000 > [fd00:9::8]:80 tcp ack seq=1001 len=1400 ext=44 exthead=0", 0},
    {"10.2.0.77 > 10.2.0.1 icmp type=3 code=4 mtu=1400 about 10.2.0.1 > 10.2.0.16 ipip quote=548 carrying 203.0.113.1:4000 > 10.9.0.4:80 tcp ack seq=1001 len=1400", 1},
    {"fd00:2::77 > fd00:2::1 icmp type=2 mtu=1400 about [fd00:2::1]:50000 > [fd00:2::17]:6080 gue quote=200 carrying [2001:db8::1]:4000 > [fd00:9::5]:80 udp len=100", 1},
};

// As it comes from the wire; the last one, exception_port, from the kernel.
inline std::vector<trace::Input> sample_frames(const trace::Bed& bed) {
  std::vector<trace::Input> frames;
  for (const Sample& sample : samples) {
    const auto text = trace::PacketText::parse(trace::words_of(sample.text));
    require(text.has_value(), sample.text);
    const std::uint16_t port = sample.port == 3 ? exception_port : sample.port;
    const auto source = IpAddress::parse(text->kind == "nd" ? text->option("sender") : text->source);
    const bool is_far = source && (sample.text[0] == '2' || sample.text[1] == '2');
    const IpAddress gateway = *IpAddress::parse(source && !source->is_v4() ? "fd00:1::fe" : "10.1.0.254");
    const MacAddress from = port == exception_port ? MacAddress{{2, 0, 0, 0, 0, 0xee}} : bed.mac_of(is_far || !source ? gateway : *source);
    auto frame = trace::build_frame(*text, from, bed.port_mac(port), 5);
    require(frame.has_value(), sample.text);
    frames.push_back({std::move(*frame), port});
  }
  return frames;
}

using trace::Script;

}  // namespace sluice::fuzz
