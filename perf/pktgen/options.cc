#include "perf/pktgen/options.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>

#include "perf/common/port.h"

namespace sluice::perf {
namespace {

constexpr char about[] =
    R"(Generates traffic on any DPDK port, plays the endpoints, and accounts for every packet.

A stamped packet (number within its flow, time) goes from a client to a VIP, through the device under
test to an endpoint, and back the same way. What does not come back is lost; what comes back late is
reordered; how long it took is latency, there and back.)";

constexpr char examples[] =
    R"(Sizes count the FCS, as RFC 2544 does: 64 is the smallest frame there is.

Examples
  Against itself, no device at all: a ring, with the endpoints on the same port
    sluice-pktgen --port net_ring0 --reflect --to-mac 02:00:00:00:00:01 --vip 10.9.0.1:80 --seconds 3
  64 k TCP flows over shared memory to a balancer that listens as a memif client
    sluice-pktgen --port net_memif0,role=server,socket=/run/lb.sock,socket-abstract=no --reflect \
      --vip 10.9.0.1:80 --clients 10.1.0.10+200 --flows 64k --verify
  The same with two NICs and two machines: clients here, endpoints there
    sluice-pktgen --port 0000:81:00.0 --vip 10.9.0.1:80 --flows 1M --gateway 10.1.0.1 --rate 10Gbit
    sluice-pktgen --port 0000:81:00.1 --reflect
  The highest rate without loss, for the sizes of RFC 2544
    sluice-pktgen ... --rfc2544 --size 64,128,256,512,1024,1280,1518 --seconds 60
  Whole connections: 5,000 new ones a second, at most 10,000 at a time
    sluice-pktgen ... --traffic connections --flows 10k --rate 5k
  New flows coming while old ones go, most packets in few flows, mixed sizes, a rising rate
    sluice-pktgen ... --distribution churn:10k
    sluice-pktgen ... --distribution zipf:1.1 --size imix --ramp 100k:2M:100k:5

Devices of DPDK: net_ring0; net_memif0,role=server|client,socket=FILE,socket-abstract=no;
net_virtio_user0,path=FILE; net_vhost0,iface=FILE; net_af_xdp0,iface=eth1;
net_af_packet0,iface=eth1; net_pcap0,tx_pcap=FILE,rx_pcap=FILE; net_null0; 0000:81:00.0 (bound to vfio-pci).

Ctrl-C ends a run early, with its report. Exit status: 0; 1 packets were broken, or with --must-not-lose
were lost, or nothing came back; 2 the command line is wrong; 3 a port, link or gateway is not there.)";

// Options whose text is parsed by a function of text.h.
template <class Target, class Parse>
CLI::Option* add(CLI::App& app, const std::string& name, Target& target, Parse parse,
                 const std::string& help) {
  return app
      .add_option_function<std::string>(
          name,
          [&target, parse](const std::string& text) {
            auto value = parse(text);
            if (!value) throw CLI::ValidationError(value.error().message);
            target = std::move(*value);
          },
          help)
      ->option_text("");
}

// What no option by itself can see. Empty when all is well.
std::string contradiction(const Options& options) {
  const Traffic& traffic = options.traffic;
  const bool has_endpoints = options.reflects || !options.endpoints_port.empty();
  if (!options.has_clients() && !options.reflects) {
    return "--vip says where the clients' packets go; without one, --reflect makes this the "
           "endpoints";
  }
  if (!options.has_clients() && (options.ramp || options.is_rfc2544)) {
    return "--ramp and --rfc2544 are of clients: they want a --vip";
  }
  if (options.reflects && !options.endpoints_port.empty()) {
    return "--reflect puts the endpoints on --port, --endpoints-port on another: only one of them";
  }
  if (options.port == options.endpoints_port) return "--endpoints-port is --port: say --reflect";
  if (options.ramp && options.is_rfc2544)
    return "--ramp and --rfc2544 are two ways to choose rates";
  if (traffic.endpoints && !has_endpoints) {
    return "--endpoints is checked where endpoints are played: --reflect or --endpoints-port";
  }
  if (traffic.is_prebuilt &&
      ((traffic.kind != Kind::udp && traffic.kind != Kind::tcp) || traffic.sizes.size() > 1 ||
       traffic.distribution.kind == Distribution::Kind::churn)) {
    return "--prebuilt is of udp or tcp flows that stay, with frames of one size";
  }
  if (options.gateway && options.gateway_mac)
    return "--gateway is asked for its MAC, --to-mac gives one";
  if (options.is_rfc2544 && traffic.kind == Kind::connections) {
    return "--rfc2544 counts packets that are lost; connections retry none and have no such count";
  }
  if (traffic.distribution.kind == Distribution::Kind::churn && traffic.kind != Kind::udp &&
      traffic.kind != Kind::tcp) {
    return "--distribution churn is of flows that last: --traffic tcp or udp";
  }
  for (const Size& size : traffic.sizes) {
    if (options.has_clients() && size.bytes < traffic.size_least() &&
        (traffic.sizes.size() == 1 || options.is_rfc2544)) {
      return fmt::format("--size {}: headers and stamp of this traffic take {}", size.bytes,
                         traffic.size_least());
    }
  }
  return "";
}

Clients default_clients() {
  // RFC 2544 C.2.2 and RFC 5180 8 set these networks aside for benchmarks.
  return {{*IpAddress::parse("198.18.0.1"), 254}, {*IpAddress::parse("2001:2::1"), 254}, {}};
}

}  // namespace

Parsed parse_options(int argc, const char* const* argv) {
  Options options;
  Traffic& traffic = options.traffic;
  traffic.clients = default_clients();
  for (int i = 0; i < argc; ++i) options.command += (i == 0 ? "" : " ") + std::string(argv[i]);
  CLI::App app(about, "sluice-pktgen");
  app.footer(examples);
  app.set_version_flag("--version", SLUICE_VERSION);

  app.option_defaults()->group("Ports");
  app.add_option("--port", options.port, "DPDK device that the clients are on")
      ->required()
      ->option_text("DEVICE");
  app.add_flag("--reflect", options.reflects,
               "the endpoints are on --port too; without --vip, they are all there is");
  app.add_option("--endpoints-port", options.endpoints_port, "the endpoints are on this device")
      ->option_text("DEVICE");
  app.add_option("--cpu", options.cpu, "CPU that the loop takes for itself (the last)")
      ->option_text("N");
  app.add_flag("--hugepages", options.wants_hugepages, "for PCI devices they are taken anyway");
  app.add_option("--eal", options.eal, "one more argument for DPDK; repeatable")
      ->option_text("ARGUMENT");
  app.add_option("--wait", options.wait_seconds, "for a link and for the gateway (10)")
      ->check(CLI::Range(0.0, 3'600.0))
      ->option_text("SECONDS");

  app.option_defaults()->group("Who talks to whom");
  app.add_option_function<std::vector<std::string>>(
         "--vip",
         [&](const std::vector<std::string>& texts) {
           for (const std::string& text : texts) {
             auto vip = parse_address_port(text);
             if (!vip) throw CLI::ValidationError("--vip", vip.error().message);
             traffic.vips.push_back(*vip);
           }
         },
         "what clients connect to; repeatable, flows are spread over all")
      ->option_text("ADDRESS:PORT");
  app.add_option_function<std::vector<std::string>>(
         "--clients",
         [&](const std::vector<std::string>& texts) {
           for (const std::string& text : texts) {
             auto range = parse_address_range(text);
             if (!range) throw CLI::ValidationError("--clients", range.error().message);
             (range->first.is_v4() ? traffic.clients.v4 : traffic.clients.v6) = *range;
           }
         },
         "their addresses; once for each family (198.18.0.1+254, 2001:2::1+254)")
      ->option_text("FIRST+COUNT");
  add(app, "--client-ports", traffic.clients.ports, parse_port_span, "(1024-65535)")
      ->option_text("FIRST-LAST");
  add(
      app, "--endpoints", traffic.endpoints,
      [](const std::string& text) -> Result<std::optional<AddressRange>> {
        auto range = parse_address_range(text);
        if (!range) return tl::unexpected(range.error());
        return std::optional(*range);
      },
      "the endpoints there are: a packet to any other is counted as broken")
      ->option_text("FIRST+COUNT");
  add(
      app, "--gateway", options.gateway,
      [](const std::string& text) -> Result<std::optional<IpAddress>> {
        auto address = IpAddress::parse(text);
        if (!address) return fail("'" + text + "' is no IP address");
        return address;
      },
      "whose MAC the packets go to; it is asked (the first VIP)")
      ->option_text("ADDRESS");
  add(
      app, "--to-mac", options.gateway_mac,
      [](const std::string& text) -> Result<std::optional<MacAddress>> {
        auto mac = MacAddress::parse(text);
        if (!mac) return fail("'" + text + "' is no MAC address");
        return mac;
      },
      "the MAC itself, for devices that answer no question")
      ->option_text("MAC");

  app.option_defaults()->group("What is sent");
  app.add_option("--traffic", traffic.kind,
                 "udp: packets of flows (default); tcp: the same, on connections opened before; "
                 "syn: SYNs of ever "
                 "new connections; connections: whole ones, opened, used and closed")
      ->transform(
          CLI::CheckedTransformer(std::map<std::string, Kind>{{"udp", Kind::udp},
                                                              {"tcp", Kind::tcp},
                                                              {"syn", Kind::syn},
                                                              {"connections", Kind::connections}},
                                  CLI::ignore_case))
      ->option_text("KIND");
  add(
      app, "--flows", traffic.flows,
      [](const std::string& text) { return parse_count(text, 1, 100'000'000); },
      "flows at the same time (1k); takes 32 bytes each")
      ->option_text("COUNT");
  add(app, "--distribution", traffic.distribution, parse_distribution,
      "whose packet is next: uniform (default); zipf:S; churn:R, uniform with R flows per second "
      "replaced")
      ->option_text("WHICH");
  add(app, "--size", traffic.sizes, parse_sizes,
      "of frames (64): one, several (64,1518), with weights (64x7,594x4,1518x1), or imix, which is "
      "these. What is "
      "too small for its headers is raised to fit")
      ->option_text("BYTES");
  app.add_option("--exchanges", traffic.exchanges, "requests and responses of a connection (1)")
      ->check(CLI::Range(1, 10'000))
      ->option_text("N");
  app.add_option("--timeout", traffic.timeout_seconds, "for a connection's answers (0.5)")
      ->check(CLI::Range(0.001, 10.0))
      ->option_text("SECONDS");
  app.add_flag("!--no-handshake", traffic.has_handshake,
               "tcp: open nothing; for devices that only hand packets back");
  app.add_flag("--prebuilt", traffic.is_prebuilt,
               "udp, tcp: write the frames of both directions once and send them again and again; "
               "what comes back is "
               "counted, every 64th looked at: twice as fast, no latency, no loss by flow");
  app.add_flag("--verify", traffic.verifies,
               "check both checksums of all that arrives (five-tuples and stamps always are)");

  app.option_defaults()->group("How fast, how long");
  add(app, "--rate", options.rate, parse_rate,
      "packets per second (1.5M), bits on the wire (2Gbit), or max (default: all that the port "
      "takes). Of "
      "connections: new ones per second. With --rfc2544: the highest to try")
      ->option_text("RATE");
  add(
      app, "--ramp", options.ramp,
      [](const std::string& text) -> Result<std::optional<Ramp>> {
        auto ramp = parse_ramp(text);
        if (!ramp) return tl::unexpected(ramp.error());
        return std::optional(*ramp);
      },
      "rates one after the other, each for some seconds (5)")
      ->option_text("FROM:TO:STEP[:SECONDS]");
  app.add_flag("--rfc2544", options.is_rfc2544,
               "search the highest rate without loss, for each size");
  app.add_option("--resolution", options.resolution,
                 "of that search, as a share of the highest rate (0.01)")
      ->check(CLI::Range(0.0001, 0.5))
      ->option_text("SHARE");
  app.add_option("--loss-allowed", options.loss_allowed,
                 "of that search, as a share of the packets (0)")
      ->check(CLI::Range(0.0, 0.5))
      ->option_text("SHARE");
  app.add_option("--seconds", options.seconds, "of the run, or of a trial (10); RFC 2544 wants 60")
      ->check(CLI::Range(0.05, 1e7))
      ->option_text("SECONDS");
  add(app, "--opening-rate", options.opening_rate, parse_rate,
      "at which tcp's flows are opened (100k)")
      ->option_text("RATE");

  app.option_defaults()->group("Output");
  app.add_option("--json", options.json, "also write the report to this file")->option_text("FILE");
  app.add_flag("--quiet", options.is_quiet, "no progress");
  app.add_flag("--must-not-lose", options.must_not_lose,
               "end with 1 when a packet was lost or a connection failed");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return {std::nullopt, app.exit(error) == 0 ? 0 : 2};
  }
  if (const std::string fault = contradiction(options); !fault.empty()) {
    fmt::print(stderr, "sluice-pktgen: {}\n", fault);
    return {std::nullopt, 2};
  }
  return {std::move(options), 0};
}

}  // namespace sluice::perf
