#!/usr/bin/env bash
# image.sh OUT.tar: an OCI image made from Debian's static busybox, with a small web page to serve. No registry is asked.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-image.sh"
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

base_root "$root"
printf '<!doctype html>\n<title>Zixiao</title>\n<h1>It runs.</h1>\n<p>This page comes from a container under Zixiao.</p>\n' > "$root/var/www/index.html"
pack_image "$root" busybox '{"Env":["PATH=/bin:/usr/bin"],"Cmd":["/bin/sh"]}' "$1"
