#!/usr/bin/env bash
# A stub of Debian's package tools for DepsTests: apt-get, apt-cache, dpkg, dpkg-query and deb-systemd-helper by the name it is called
# by. No network and no real package; $STUB holds the packages (one file each, with their units), which of them are installed, and
# what was called.
set -euo pipefail
printf '%s\n' "$(basename "$0") $*" >> "$STUB/calls"

enable_units() {
  while read -r unit; do
    mkdir -p /etc/systemd/system/multi-user.target.wants
    ln -sf "/lib/systemd/system/$unit" "/etc/systemd/system/multi-user.target.wants/$unit"
    # As invoke-rc.d asks in a package's script before it starts a service.
    code=0
    /usr/sbin/policy-rc.d "$unit" start || code=$?
    echo "$unit $code" >> "$STUB/starts"
  done < "$STUB/available/$1"
}

case $(basename "$0") in
  apt-cache) echo "  Candidate: 1.0" ;;
  apt-get)
    printf '%s\n' "$DEBIAN_FRONTEND" >> "$STUB/frontends"
    [ ! -e "$STUB/killed" ] || kill -KILL "$PPID"
    [ ! -e "$STUB/broken" ] || { echo "E: a stub's failure" >&2; exit 100; }
    install=""
    for argument in "$@"; do
      case $argument in
        update) touch "$STUB/updated" ;;
        install) install=yes; [ ! -e "$STUB/stale" ] || [ -e "$STUB/updated" ] || exit 100 ;;
        -* | Dpkg::* | DPkg::*) ;;
        *) [ -z "$install" ] || { touch "$STUB/installed/$argument"; enable_units "$argument"; } ;;
      esac
    done
    ;;
  dpkg) while read -r unit; do echo "/lib/systemd/system/$unit"; done < "$STUB/available/$2" ;;
  dpkg-query)
    format=$3
    if [ $# = 3 ]; then
      for package in "$STUB/installed"/*; do echo "$(basename "$package") installed"; done
    elif [ ! -e "$STUB/installed/$4" ]; then
      exit 1
    elif [[ $format = *Version* ]]; then
      echo 1.0
    else
      printf installed
    fi
    ;;
  deb-systemd-helper) [ -e "$STUB/stubborn" ] || rm -f "/etc/systemd/system/multi-user.target.wants/$2" ;;
esac
