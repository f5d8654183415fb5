# What the data plane needs of its host. Sourced; needs progress.sh.

require_root() {
  [ "$(id -u)" = 0 ] || fail "$0 makes network namespaces and reserves hugepages: run it as root"
}

# reserve_hugepages COUNT: 2 MiB pages, kept when there are more already.
reserve_hugepages() {
  local wanted=$1 file=/proc/sys/vm/nr_hugepages
  if ! awk '$2 == "/dev/hugepages" && $3 == "hugetlbfs" {found = 1} END {exit !found}' /proc/mounts; then
    mkdir -p /dev/hugepages && mount -t hugetlbfs -o pagesize=2M hugetlbfs /dev/hugepages
  fi
  if [ "$(cat $file)" -lt "$wanted" ]; then echo "$wanted" >$file; fi
  if [ "$(cat $file)" -lt "$wanted" ]; then
    echo 1 >/proc/sys/vm/compact_memory  # fragmented memory: give the kernel a chance to move it
    echo "$wanted" >$file
  fi
  [ "$(cat $file)" -ge "$wanted" ] ||
    fail "only $(cat $file) of $wanted hugepages of 2 MiB could be reserved: free memory, or reboot with hugepages=$wanted"
}

# The XDP program's maps are pinned here.
mount_bpffs() {
  if ! awk '$2 == "/sys/fs/bpf" && $3 == "bpf" {found = 1} END {exit !found}' /proc/mounts; then
    mount -t bpf bpf /sys/fs/bpf
  fi
}

prepare_host() {
  require_root
  reserve_hugepages "${SLUICE_HUGEPAGES:-1024}"
  mount_bpffs
}
