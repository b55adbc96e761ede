#!/usr/bin/env bash
# guest.sh OUTDIR: what guests made from OCI images boot: OUTDIR/vmlinuz, OUTDIR/vmlinux (the same, uncompressed) and OUTDIR/initramfs. The kernel
# is Debian's own for clouds, as this machine's apt knows it: downloaded and checked by apt, kept in CACHE_DIR, and never installed here.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
[ $# = 1 ] || die "write: scripts/guest.sh OUTDIR"
out=$1
cache=${CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/hypervisor}/guest
work=$(mktemp -d)
download=$work/download
trap 'rm -rf "$work" "$download"' EXIT

# What drives the devices that the monitors give a guest; what they depend on comes with them. ext4 and the console are built in. button: the
# machine's power button.
wanted='virtio_mmio virtio_pci virtio_blk virtio_net virtio_console virtio-rng virtio_balloon vmw_vsock_virtio_transport button'

resolve() { # the real package and its version, "name version"
  local package
  package=$(apt-cache depends linux-image-cloud-amd64 2> /dev/null | sed -n 's/^ *Depends: \(linux-image-.*-cloud-amd64\)$/\1/p' | head -n 1)
  [ -n "$package" ] || return 1
  version=$(apt-cache policy "$package" | sed -n 's/^ *Candidate: //p')
  deb=$cache/${package}_${version//:/%3a}_amd64.deb
}
fetch() {
  [ ! -f "$deb" ] || return 0
  local package
  package=$(basename "$deb")
  say "Downloading Debian's kernel for guests (${package%%_*} $version)"
  # On the file system of the cache: a package appears in it when all of it is there.
  mkdir -p "$cache"
  download=$(mktemp -d "$cache/.download.XXXXXX")
  (cd "$download" && apt_get -o APT::Sandbox::User=root download "${package%%_*}=$version") > "$work/log" 2>&1 || { rm -rf "$download"; return 1; }
  mv -f "$download"/*.deb "$deb"
  rm -rf "$download"
}
if ! { resolve && fetch; }; then
  need_root "updating apt's package lists" deps
  say "Updating the package lists"
  if ! { apt_get update > "$work/log" 2>&1 && resolve && fetch; }; then
    tail -n 20 "$work/log" >&2
    die "Debian's kernel for guests could not be downloaded; is the network there?"
  fi
fi

# Unpacked and taken apart once per package and list of modules.
key=$(printf '%s %s' "$(basename "$deb")" "$wanted" | sha256sum | cut -c1-16)
parts=$cache/$key
if [ ! -f "$parts/vmlinux" ]; then
  mkdir -p "$work/deb" "$work/parts/modules"
  dpkg-deb -x "$deb" "$work/deb"
  cp "$work"/deb/boot/vmlinuz-* "$work/parts/vmlinuz"

  # Documentation/arch/x86/boot.rst: the compressed kernel lies at payload_offset (0x248) behind the setup sectors (0x1f1).
  number() { od -An -tu"$3" -j "$(($2))" -N "$3" "$1" | tr -d ' '; }
  image=$work/parts/vmlinuz
  start=$((($(number "$image" 0x1f1 1) + 1) * 512 + $(number "$image" 0x248 4)))
  # Its last four bytes are the size of what it holds.
  dd if="$image" of="$work/payload" bs=64K iflag=skip_bytes,count_bytes skip="$start" count=$(($(number "$image" 0x24c 4) - 4)) status=none
  case $(head -c 4 "$work/payload" | od -An -tx1 | tr -d ' ') in
    02214c18) lz4 -dq "$work/payload" "$work/parts/vmlinux" ;;
    28b52ffd) zstd -dq "$work/payload" -o "$work/parts/vmlinux" ;;
    1f8b*) gzip -dc "$work/payload" > "$work/parts/vmlinux" ;;
    fd377a58) xz -dc "$work/payload" > "$work/parts/vmlinux" ;;
    *) die "the kernel in $(basename "$deb") is compressed in a way that is not known here" ;;
  esac
  [ "$(head -c 4 "$work/parts/vmlinux" | od -An -tx1 | tr -d ' ')" = 7f454c46 ] || die "the kernel in $(basename "$deb") could not be unpacked"

  # Dependencies first. The package brings no modules.dep: that is made where it is installed.
  find "$work/deb" -name '*.ko' > "$work/all"
  builtin=$(find "$work/deb" -name modules.builtin)
  declare -A taken
  take() {
    local name=${1//-/_} file dependency
    [ -z "${taken[$name]:-}" ] || return 0
    taken[$name]=1
    file=$(grep -E "/${name//_/[-_]}\.ko$" "$work/all" | head -n 1) || true
    if [ -z "$file" ]; then
      grep -qE "/${name//_/[-_]}\.ko$" "$builtin" || die "the kernel has no module $name"
      return 0
    fi
    for dependency in $(objcopy -O binary --only-section=.modinfo "$file" /dev/stdout | tr '\0' '\n' | sed -n 's/^depends=//p' | tr ',' ' '); do
      take "$dependency"
    done
    # Without its signature: the kernel takes both, and checking it costs a guest more than all the rest of loading it.
    objcopy --strip-debug "$file" "$work/parts/modules/$name.ko"
    echo "$name.ko" >> "$work/parts/modules/order"
  }
  for module in $wanted; do take "$module"; done
  rm -rf "$parts"
  mkdir -p "$cache"
  mv "$work/parts" "$parts"
fi

# Uncompressed: a guest under emulation takes longer to decompress it than to copy it.
root=$work/root
mkdir -p "$root/dev"
make -s -C "$ROOT/src/Hypervisor.Init" OUT="$root"
cp -r "$parts/modules" "$root/modules"
mkdir -p "$out"
(cd "$root" && find . -mindepth 1 | LC_ALL=C sort | cpio -o -H newc -R 0:0 --reproducible --quiet) > "$out/initramfs.part"
cp "$parts/vmlinuz" "$out/vmlinuz.part"
cp "$parts/vmlinux" "$out/vmlinux.part"
for file in vmlinuz vmlinux initramfs; do mv -f "$out/$file.part" "$out/$file"; done
