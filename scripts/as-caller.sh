#!/usr/bin/env bash
# Runs a command as the user behind sudo, so that `sudo make run` leaves no file of root's in the source tree.
set -euo pipefail
# The SDK's host wants ICU; a minimal Debian has none, and nothing here is culture-sensitive.
ldconfig -p 2> /dev/null | grep -q libicuuc || export DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1
if [ "$(id -u)" = 0 ] && [ "${SUDO_UID:-0}" != 0 ]; then
  home=$(getent passwd "$SUDO_UID" | cut -d: -f6)
  # sudo's PATH lacks an SDK installed in the user's home.
  exec setpriv --reuid "$SUDO_UID" --regid "$SUDO_GID" --init-groups env HOME="$home" PATH="$PATH:$home/.dotnet" "$@"
fi
exec "$@"
