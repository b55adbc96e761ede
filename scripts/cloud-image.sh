#!/usr/bin/env bash
# cloud-image.sh OUT.qcow2: a disk image of Debian with cloud-init and a boot loader of its own, as clouds have them, made of Debian's packages
# as this machine's apt knows them. Nothing of it is installed here and no device is mounted. Made once per list of packages (CACHE_DIR).
set -euo pipefail
. "$(dirname "$0")/lib.sh"
[ $# = 1 ] || die "write: scripts/cloud-image.sh OUT.qcow2"
out=$(realpath "$1")
cd "$ROOT"
need_root "making a system of Debian's packages" deps
scripts/deps.sh cloud
cache=${CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/hypervisor}
packages=linux-image-cloud-amd64,initramfs-tools,systemd-sysv,systemd-resolved,udev,dbus,cloud-init,netplan.io,iproute2,sudo,e2fsprogs,cloud-guest-utils,qemu-guest-agent
suite=$(. /etc/os-release && printf %s "$VERSION_CODENAME")

# What is in it besides the packages is below: another text makes another image.
key=$(sha256sum scripts/cloud-image.sh | cut -c1-16)
image=$cache/cloud-image-$suite-$key.qcow2
if [ ! -f "$image" ]; then
  mkdir -p "$cache"
  # On the file system of the cache: the image appears in it when all of it is there.
  work=$(mktemp -d "$cache/.cloud-image.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  root=$work/root

  say "Making a Debian $suite with cloud-init"
  # Its package lists and downloads stay out of the image; documents and translations too.
  # Its initramfs has what a virtual machine boots from and nothing else: it is made and booted several times faster.
  # shellcheck disable=SC2016 # mmdebstrap's own $1.
  initramfs='d=$1/etc/initramfs-tools; mkdir -p "$d/conf.d"; printf "MODULES=list\nCOMPRESS=gzip\n" > "$d/conf.d/virtual"
    printf "%s\n" virtio_pci virtio_blk virtio_scsi virtio_net ext4 > "$d/modules"'
  mmdebstrap --mode=root --variant=minbase --include="$packages" --aptopt='Acquire::Retries "8"' --aptopt='APT::Install-Recommends "false"' \
    --setup-hook="$initramfs" --dpkgopt=force-confold --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    "$suite" "$root" > "$work/log" 2>&1 < /dev/null || { tail -n 20 "$work/log" >&2; die "Debian could not be unpacked; is the network there?"; }

  printf 'LABEL=root / ext4 defaults 0 1\n' > "$root/etc/fstab"
  # One source, so that nothing else is waited for.
  printf 'datasource_list: [NoCloud, None]\n' > "$root/etc/cloud/cloud.cfg.d/90_datasource.cfg"
  : > "$root/etc/machine-id"
  rm -f "$root/etc/hostname" "$root/etc/resolv.conf"
  ln -s ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
  mkdir -p "$root/boot/grub"
  cat > "$root/boot/grub/grub.cfg" << 'CONFIG'
serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
set timeout=0
menuentry Debian {
  linux /vmlinuz root=LABEL=root ro console=ttyS0 quiet net.ifnames=0
  initrd /initrd.img
}
CONFIG

  # The file system with its files in it, behind the first mebibyte, which holds the partition table and the boot loader.
  size=$(($(du -s --apparent-size -B1M "$root" | cut -f1) * 5 / 4 + 256))
  truncate -s "${size}M" "$work/partition"
  mke2fs -q -t ext4 -L root -d "$root" "$work/partition"
  truncate -s "$((size + 2))M" "$work/disk"
  dd if="$work/partition" of="$work/disk" bs=1M seek=1 conv=notrunc,sparse status=none
  printf 'label: dos\nstart=2048, size=%s, type=83, bootable\n' $((size * 2048)) | sfdisk --quiet "$work/disk" > "$work/log"

  # GRUB's first sector loads the rest from the second sector on, which is where both lie when nobody says otherwise.
  # shellcheck disable=SC2016 # GRUB's own variables.
  printf 'search --no-floppy --label root --set=root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n' > "$work/embedded.cfg"
  grub-mkimage -O i386-pc -o "$work/core.img" -p /boot/grub -c "$work/embedded.cfg" \
    biosdisk part_msdos ext2 search search_label configfile normal linux serial terminal echo
  dd if=/usr/lib/grub/i386-pc/boot.img of="$work/disk" bs=440 count=1 conv=notrunc status=none
  dd if="$work/core.img" of="$work/disk" bs=512 seek=1 conv=notrunc status=none

  qemu-img convert -f raw -O qcow2 "$work/disk" "$work/image"
  mv -f "$work/image" "$image"
fi
cp --reflink=auto "$image" "$out"
say "$out: $(du -h "$out" | cut -f1)"
