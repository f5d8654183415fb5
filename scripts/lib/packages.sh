# The Debian 12 packages that building, running and testing need: the one list of them.
# Sourced; needs progress.sh.

packages=(
  # build
  g++ clang llvm libclang-rt-14-dev meson ninja-build ccache pkg-config
  dpdk-dev libbpf-dev libxdp-dev libfmt-dev protobuf-compiler libprotobuf-dev libyaml-cpp-dev
  libhyperscan-dev libedit-dev libcli11-dev libexpected-dev nlohmann-json3-dev libpcap-dev libgtest-dev
  # run
  dpdk iproute2 procps ethtool bpftool kmod
  # the site and its tests
  python3 python3-pytest python3-scapy lua5.4 iperf3 nginx-light openssl curl tshark tcpdump nftables iputils-ping
  # peers beside which perf/run measures
  haproxy libnginx-mod-stream
)

missing_packages() {
  # dpkg-query fails when it does not know one of them, and lists the others.
  comm -23 <(printf '%s\n' "${packages[@]}" | sort -u) \
    <(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "${packages[@]}" 2>/dev/null |
      sed -n 's/^installed //p' | sort -u)
}

apt_install() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q && apt-get install -q -y --no-install-recommends "$@"
}

install_packages() {
  local missing; mapfile -t missing < <(missing_packages)
  [ ${#missing[@]} -eq 0 ] && return 0
  [ "$(id -u)" = 0 ] || fail "these packages are missing and only root can install them: ${missing[*]}"
  # nginx is an origin server inside the site; its package must not start one on this host.
  local policy=/usr/sbin/policy-rc.d ours=
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy && ours=yes
  fi
  # step ends the script when it fails: in a subshell, so that the policy goes in any case.
  local status=0
  (step "Installing ${#missing[@]} packages" apt_install "${missing[@]}") || status=$?
  if [ -n "$ours" ]; then rm -f $policy; fi
  [ $status -eq 0 ] || exit $status
}
