#!/usr/bin/env bash
# image.sh OUT.tar: an OCI image made from Debian's static busybox, with a small web page to serve. No registry is asked.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
out=$1
busybox=$(command -v busybox) || die "busybox is missing; run: make deps"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

root=$work/root
mkdir -p "$root"/{bin,dev,etc,home,proc,root,run,sys,tmp,usr/bin,var/www}
chmod 1777 "$root/tmp"
install -m 755 "$busybox" "$root/bin/busybox"
for applet in $("$busybox" --list); do [ "$applet" = busybox ] || ln -sf busybox "$root/bin/$applet"; done
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n' > "$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' > "$root/etc/group"
printf '<!doctype html>\n<title>Zixiao</title>\n<h1>It runs.</h1>\n<p>This page comes from a container under Zixiao.</p>\n' > "$root/var/www/index.html"

# The same input gives the same digest: times, owners and order are fixed.
pack() { tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$1" -cf "$2" .; }
blobs=$work/image/blobs/sha256
mkdir -p "$blobs"
put() { local digest; digest=$(sha256sum < "$1" | cut -d' ' -f1); cp "$1" "$blobs/$digest"; echo "$digest"; }

pack "$root" "$work/layer.tar"
diff_id=$(sha256sum < "$work/layer.tar" | cut -d' ' -f1)
gzip -n "$work/layer.tar"
layer=$(put "$work/layer.tar.gz")
cat > "$work/config.json" <<JSON
{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin:/usr/bin"],"Cmd":["/bin/sh"]},"rootfs":{"type":"layers","diff_ids":["sha256:$diff_id"]}}
JSON
config=$(put "$work/config.json")
cat > "$work/manifest.json" <<JSON
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:$config","size":$(stat -c %s "$work/config.json")},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:$layer","size":$(stat -c %s "$work/layer.tar.gz")}]}
JSON
manifest=$(put "$work/manifest.json")
printf '{"imageLayoutVersion":"1.0.0"}' > "$work/image/oci-layout"
cat > "$work/image/index.json" <<JSON
{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:$manifest","size":$(stat -c %s "$work/manifest.json"),"platform":{"architecture":"amd64","os":"linux"},"annotations":{"org.opencontainers.image.ref.name":"busybox:latest"}}]}
JSON
mkdir -p "$(dirname "$out")"
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$work/image" -cf "$out.part" oci-layout index.json blobs
mv -f "$out.part" "$out"
