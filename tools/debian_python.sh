#!/usr/bin/env bash
# debian_python.sh VERSION FOLDER: unpack a CPython newer than this Debian's own into FOLDER, from
# Debian's packages, with the C library that it needs. Needs apt, dpkg and patchelf; installs nothing
# on the system. The mirror is the one that apt uses. Takes some 120 MB and twenty seconds.
set -euo pipefail
version=$1 folder=$(mkdir -p "$2" && cd "$2" && pwd) suite=${SUITE:-sid}
python=$folder/root/usr/bin/python$version
mirror=$(grep -rhvE '^[[:space:]]*#' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null |
    grep -oE 'https?://[^ ]+/debian/?( |$)' | head -n 1) || true
[ -n "$mirror" ] || { echo "no Debian mirror in apt's sources" >&2; exit 1; }

mkdir -p "$folder"/{lists/partial,cache/archives/partial,deb}
keys=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keys] $mirror $suite main" >"$folder/sources.list"
apt=(-q -o "Dir::Etc::sourcelist=$folder/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::Lists=$folder/lists" -o "Dir::Cache=$folder/cache" -o APT::Sandbox::User=root)
# All that the interpreter loads, from the C library up.
packages=(python"$version"{,-minimal,-venv,-dev} libpython"$version"{,-minimal,-stdlib,-dev}
    libc6 libgcc-s1 libstdc++6 zlib1g libexpat1 libssl3t64 libffi8 libsqlite3-0 libbz2-1.0 liblzma5
    libzstd1 libncursesw6 libtinfo6 libreadline8t64 libuuid1 libdb5.3t64 libcrypt1 libmpdec4
    media-types tzdata)
apt-get "${apt[@]}" update >&2
(cd "$folder/deb" && apt-get "${apt[@]}" download "${packages[@]}" >&2)
for package in "$folder"/deb/*.deb; do dpkg -x "$package" "$folder/root"; done
rm -rf "$folder"/{deb,cache,lists,sources.list}

# It loads its own C library, not this system's: so it can start itself, too.
patchelf --set-interpreter "$folder/root/usr/lib64/ld-linux-x86-64.so.2" --force-rpath \
    --set-rpath "$folder/root/usr/lib/x86_64-linux-gnu" "$python"
"$python" -c 'import ctypes, sqlite3, ssl, zlib'
