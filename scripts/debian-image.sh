#!/usr/bin/env bash
# debian-image.sh NAME OUT.tar: an OCI image of nginx or postgresql, made of Debian's packages as this machine's apt knows them. They are
# downloaded once (CACHE_DIR), checked by apt, and unpacked without running anything of theirs; nothing is installed here.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-image.sh"
[ $# = 2 ] || die "write: scripts/debian-image.sh nginx|postgresql OUT.tar"
name=$1 out=$2
cache=${CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/hypervisor}/debian
work=$(mktemp -d)
download=$work/download
trap 'rm -rf "$work" "$download"' EXIT
root=$work/root

# What packages depend on to be set up, and what no program in the image loads: an extended regular expression for package names.
without='debconf|adduser|passwd|dpkg|tar|init-system-helpers|.*perl.*|locales|libc-l10n|libc-bin|gcc-.*-base|lsb-base|sysvinit-utils|openssl'
case $name in
  nginx)
    packages=(nginx)
    # All of it comes with iproute2, which nginx-common's scripts call.
    without+='|iproute2|libbpf1|libelf1|libdb5.3|libmnl0|libxtables12|libcap2|libcap2-bin|libtirpc.*|libbsd0|libmd0|libgssapi.*|libkrb5.*'
    without+='|libk5.*|libkeyutils1|libcom-err2|libselinux1'
    programs=(/usr/sbin/nginx)
    # SIGQUIT lets requests under way end; SIGTERM, what would be sent otherwise, cuts them off.
    run='"Env":["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],"Cmd":["nginx","-g","daemon off;"],"StopSignal":"SIGQUIT","ExposedPorts":{"80/tcp":{}}'
    ;;
  postgresql)
    packages=(postgresql-15)
    # The code generator (libllvm) and its bitcode are four fifths of it, and are for long analytical queries.
    without+='|libllvm.*|libz3-4|libbsd0|libmd0|libedit2|postgresql-common|postgresql-client-common|ssl-cert|netbase|ucf|sensible-utils'
    without+='|libpam-modules.*|libpam-runtime|libsemanage.*|libsepol2|libdb5.3|libgdbm.*|readline-common'
    programs=(/usr/lib/postgresql/15/bin/{postgres,initdb,psql})
    # SIGINT ends sessions and shuts down cleanly; SIGTERM waits for the clients to go.
    run='"Env":["PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin","PGDATA=/var/lib/postgresql/data"],"Entrypoint":["/usr/bin/start-postgres"]'
    run+=',"User":"postgres","StopSignal":"SIGINT","ExposedPorts":{"5432/tcp":{}}'
    ;;
  *) die "'$name' is not known; write nginx or postgresql" ;;
esac

# As if nothing were installed: everything that is needed is named, with its version and where it is.
apt() { apt_get -o Dir::State::status="$work/status" -o Debug::NoLocking=1 -o APT::Sandbox::User=root "$@"; }
: > "$work/status"
resolve() {
  apt --no-install-recommends --print-uris -y install "${packages[@]}" 2> "$work/log" |
    sed -n "s/^'[^']*' \([^ ]*\.deb\) .*/\1/p" > "$work/files"
  [ -s "$work/files" ]
}
fetch() {
  local file missing=()
  debs=()
  while read -r file; do
    if grep -qxE "$without" <<< "${file%%_*}"; then continue; fi
    debs+=("$file")
    # name_version_architecture.deb, with %3a for the colon of an epoch.
    [ -f "$cache/$file" ] || { file=${file%_*}; missing+=("$(sed 's/_/=/; s/%3a/:/' <<< "$file")"); }
  done < "$work/files"
  [ ${#missing[@]} -gt 0 ] || return 0
  say "Downloading ${#missing[@]} packages of Debian for $name"
  # On the file system of the cache: a package appears in it when all of it is there.
  mkdir -p "$cache"
  download=$(mktemp -d "$cache/.download.XXXXXX")
  (cd "$download" && apt download "${missing[@]}") > "$work/log" 2>&1 || { rm -rf "$download"; return 1; }
  mv -f "$download"/*.deb "$cache/"
  rm -rf "$download"
}
if ! { resolve && fetch; }; then
  need_root "updating apt's package lists" deps
  say "Updating the package lists"
  if ! { apt_get update > "$work/log" 2>&1 && resolve && fetch; }; then
    tail -n 20 "$work/log" >&2
    die "Debian's packages of $name could not be downloaded; is the network there?"
  fi
fi

mkdir -p "$root"
for deb in "${debs[@]}"; do
  dpkg-deb --fsys-tarfile "$cache/$deb" |
    tar -x -C "$root" --no-same-owner --exclude='./usr/share/doc*' --exclude=./usr/share/man --exclude=./usr/share/locale \
      --exclude=./usr/share/lintian --exclude='./usr/lib/postgresql/*/lib/bitcode' --exclude='./usr/lib/x86_64-linux-gnu/gconv' \
      --exclude=./lib/systemd --exclude=./usr/share/zoneinfo/right --exclude=./usr/share/zoneinfo/posix
done
base_root "$root"

case $name in
  nginx)
    printf 'www-data:x:33:33:www-data:/var/www:/bin/false\n' >> "$root/etc/passwd"
    printf 'www-data:x:33:\n' >> "$root/etc/group"
    mkdir -p "$root"/var/{www/html,log/nginx,lib/nginx} "$root/etc/nginx/conf.d"
    printf '<!doctype html>\n<title>nginx</title>\n<h1>It runs.</h1>\n' > "$root/var/www/html/index.html"
    cat > "$root/etc/nginx/nginx.conf" <<'CONF'
user www-data;
worker_processes 1;
pid /run/nginx.pid;
error_log /dev/stderr notice;
events { worker_connections 512; }
http {
    include mime.types;
    default_type application/octet-stream;
    access_log /dev/stdout;
    sendfile on;
    server {
        listen 80 default_server;
        root /var/www/html;
        include conf.d/*.conf;
    }
}
CONF
    ;;
  postgresql)
    printf 'postgres:x:999:999:postgres:/var/lib/postgresql:/bin/sh\n' >> "$root/etc/passwd"
    printf 'postgres:x:999:\n' >> "$root/etc/group"
    # Everything in a layer is root's: whoever runs it may make folders here, and owns what it made.
    mkdir -p "$root"/{var/lib/postgresql,run/postgresql}
    ln -sfn ../run "$root/var/run"
    chmod 1777 "$root"/{var/lib/postgresql,run/postgresql}
    cat > "$root/usr/bin/start-postgres" <<'SCRIPT'
#!/bin/sh
# Makes the database on the first start, then becomes the server. Arguments that name a program run that instead.
set -e
case ${1:--} in -*) ;; *) exec "$@" ;; esac
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  : "${POSTGRES_PASSWORD:?is not set; give the superuser a password: --env POSTGRES_PASSWORD=...}"
  # An attempt that was cut off left something that is no database yet.
  rm -rf "$PGDATA" "$PGDATA.new"
  (umask 077 && printf '%s\n' "$POSTGRES_PASSWORD" > /tmp/password)
  initdb --pgdata "$PGDATA.new" --username postgres --pwfile /tmp/password \
    --auth-local trust --auth-host scram-sha-256 --no-locale --encoding UTF8
  rm /tmp/password
  printf "listen_addresses = '*'\njit = off\n" >> "$PGDATA.new/postgresql.conf"
  printf 'host all all all scram-sha-256\n' >> "$PGDATA.new/pg_hba.conf"
  mv "$PGDATA.new" "$PGDATA"
fi
unset POSTGRES_PASSWORD
exec postgres "$@"
SCRIPT
    chmod 755 "$root/usr/bin/start-postgres"
    ;;
esac

# A library that was left out is noticed here and not by whoever starts the image.
for program in "${programs[@]}"; do
  loaded=$("$root/lib64/ld-linux-x86-64.so.2" --inhibit-cache --library-path "$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu" \
    --list "$root$program" 2>&1) || die "$program cannot be loaded: $loaded"
  # The loader also looks in this machine's own folders.
  ! elsewhere=$(grep ' => ' <<< "$loaded" | grep -v " => $root/") || die "$program lacks:$elsewhere"
done
IMAGE_COMPRESSION=1 pack_image "$root" "$name" "{$run}" "$out"
say "$out: $(du -h "$out" | cut -f1)"
