# How images are made of files; sourced, not run.
# shellcheck shell=bash

# base_root ROOT: the folders that every process expects, and Debian's static busybox for a shell and the common commands.
base_root() {
  local root=$1 busybox applet
  busybox=$(command -v busybox) || die "busybox is missing; run: make deps"
  mkdir -p "$root"/{bin,dev,etc,home,proc,root,run,sys,tmp,usr/bin,var/www}
  chmod 1777 "$root/tmp"
  install -m 755 "$busybox" "$root/bin/busybox"
  for applet in $("$busybox" --list); do [ "$applet" = busybox ] || ln -sf busybox "$root/bin/$applet"; done
  printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n' > "$root/etc/passwd"
  printf 'root:x:0:\nnogroup:x:65534:\n' > "$root/etc/group"
}

# pack_image ROOT NAME CONFIG OUT.tar: an OCI archive of one layer, all of it owned by root. CONFIG is the JSON object that says how
# it is run. The same input gives the same digest: times, owners and order are fixed.
pack_image() {
  local root=$1 name=$2 run=$3 out=$4 work image blobs layer diff_id config manifest
  local fixed=(--sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner)
  work=$(mktemp -d)
  image=$work/image
  blobs=$image/blobs/sha256
  mkdir -p "$blobs" "$(dirname "$out")"
  put() { local digest; digest=$(sha256sum < "$1" | cut -d' ' -f1); mv "$1" "$blobs/$digest"; echo "$digest"; }

  tar "${fixed[@]}" -C "$root" -cf "$work/layer.tar" .
  diff_id=$(sha256sum < "$work/layer.tar" | cut -d' ' -f1)
  gzip -n -"${IMAGE_COMPRESSION:-6}" "$work/layer.tar"
  layer=$(put "$work/layer.tar.gz")
  printf '{"architecture":"amd64","os":"linux","config":%s,"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}\n' "$run" "$diff_id" > "$work/config.json"
  config=$(put "$work/config.json")
  cat > "$work/manifest.json" <<JSON
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:$config","size":$(stat -c %s "$blobs/$config")},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:$layer","size":$(stat -c %s "$blobs/$layer")}]}
JSON
  manifest=$(put "$work/manifest.json")
  printf '{"imageLayoutVersion":"1.0.0"}' > "$image/oci-layout"
  cat > "$image/index.json" <<JSON
{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:$manifest","size":$(stat -c %s "$blobs/$manifest"),"platform":{"architecture":"amd64","os":"linux"},"annotations":{"org.opencontainers.image.ref.name":"$name:latest"}}]}
JSON
  tar "${fixed[@]}" -C "$image" -cf "$out.part" oci-layout index.json blobs
  mv -f "$out.part" "$out"
  rm -rf "$work"
}
