#!/usr/bin/env bash
# Installs the Debian packages that are missing for the named purposes (build, run, test). Nothing is started, nothing that is
# already on the host is changed: service starts are denied while packages unpack, and units that come with new packages are
# left disabled.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

declare -A wanted=(
  # gcc and libc6-dev link the NativeAOT programs and the init of guests; binutils, cpio, lz4 and make take Debian's kernel apart and pack
  # the initramfs; the rest is what the .NET SDK itself loads.
  [build]="gcc libc6-dev zlib1g-dev ca-certificates libssl3 libstdc++6 binutils cpio lz4 make"
  # The container runtime, its default seccomp profile, the network tools, and what the first image is packed from; what runs microVMs
  # and VMs, and what makes root file systems, disks and cloud-init seeds of guests.
  [run]="containerd runc golang-github-containers-common libnftables1 nftables iproute2 dnsmasq-base busybox-static procps qemu-system-x86 libvirt-daemon libvirt-daemon-driver-qemu ovmf e2fsprogs qemu-utils xorriso util-linux"
  # The store of clusters; `make run STORE=etcd` needs the server, people the client.
  [etcd]="etcd-server etcd-client"
  # A registry to pull from and what pushes to it.
  [bench]="docker-registry skopeo libvirt-clients"
  # A Debian of its own in a disk image (cloud-image.sh).
  [cloud]="mmdebstrap grub-pc-bin grub-common fdisk e2fsprogs qemu-utils"
  [test]="attr shellcheck zsh fish systemd strace util-linux etcd-server etcd-client docker-registry skopeo"
)

policy=/usr/sbin/policy-rc.d
saved=$policy.before-hypervisor
ours="# denies service starts while hypervisor's packages are installed"
restore_policy() {
  if [ -e "$saved" ] || [ -L "$saved" ]; then mv -f "$saved" "$policy"; else rm -f "$policy"; fi
}
# A run that was killed in between left its own policy in place, and the host's aside: the host's is the one to come back, also
# when the packages are all there by now.
if grep -qxF "$ours" "$policy" 2> /dev/null; then
  need_root "putting $policy back" deps
  restore_policy
fi

missing=()
for purpose in "$@"; do
  for package in ${wanted[$purpose]}; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null)" = installed ] || missing+=("$package")
  done
done
command -v dotnet > /dev/null || [ -x "$(getent passwd "${SUDO_UID:-0}" | cut -d: -f6)/.dotnet/dotnet" ] ||
  die "the .NET SDK $(sed -n 's/.*"version": "\([^"]*\)".*/\1/p' "$ROOT/global.json") or later is not on PATH; see https://dot.net"
[ ${#missing[@]} -gt 0 ] || exit 0

say "Missing Debian packages: ${missing[*]}"
need_root "installing them" deps

if [ -e "$policy" ] || [ -L "$policy" ]; then mv "$policy" "$saved"; fi
trap restore_policy EXIT
printf '#!/bin/sh\n%s\nexit 101\n' "$ours" > "$policy"
chmod 755 "$policy"

installed() { dpkg-query -W -f '${Package} ${db:Status-Status}\n' | sed -n 's/ installed$//p' | sort; }
before=$(installed)

apt() { DEBIAN_FRONTEND=noninteractive apt_get -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 "$@"; }
log=$(mktemp)
apt_install() { apt install --no-install-recommends -o Dpkg::Options::=--force-confold "${missing[@]}" > "$log" 2>&1 < /dev/null; }
if ! apt-cache policy "${missing[@]}" 2> /dev/null | grep -q Candidate || ! apt_install; then
  say "Updating the package lists"
  apt update > "$log" 2>&1 || { tail -n 20 "$log" >&2; die "apt-get update failed; is the network there? (log: $log)"; }
  apt_install || { tail -n 20 "$log" >&2; die "apt-get install failed (log: $log)"; }
fi
rm -f "$log"

new=$(comm -13 <(printf '%s\n' "$before") <(installed))
for package in $new; do
  say "Installed $package $(dpkg-query -W -f '${Version}' "$package" | head -n 1)"
  # Its units are how it boots a machine, where it does; only systemd-sysv, which is not installed here, would make it do that.
  [ "$package" != systemd ] || continue
  dpkg -L "$package" | sed -nE 's#^(/usr)?/lib/systemd/system/([^/]+\.(service|socket|timer|path))$#\2#p' | while read -r unit; do
    case $unit in *@.*) continue ;; esac
    # What the package's own scripts enabled it with; it also works where systemd is not installed (yet).
    DPKG_MAINTSCRIPT_PACKAGE=$package deb-systemd-helper disable "$unit" > /dev/null 2>&1 || true
    links=$(find /etc/systemd/system -type l -name "$unit")
    [ -z "$links" ] || die "$unit could not be disabled: $links"
    say "  $unit is left disabled and stopped"
  done
done
