#!/usr/bin/env bash
# A stand-in for the official Python image, for machines that can reach a Debian mirror but no image registry:
# Debian's minimal system plus this machine's CPython, under the name that the Dockerfile's FROM asks for.
# What it cannot show: that the official image has the same libraries.
#
#   base_image.sh NAME [WORK]     WORK: directory for the root file system, deleted afterwards
#
# Needs podman and debootstrap, and root. Podman's storage is the one that the environment names.
set -euo pipefail

name=${1:?base_image.sh NAME [WORK]}
work=$(mktemp -d "${2:-${TMPDIR:-/tmp}}/base-image.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/root

# The mirror that this machine itself installs from: "URIs:" of the new format, the second word of the old one.
mirror() {
    local found
    found=$(awk '/^URIs:/ { print $2; exit }' /etc/apt/sources.list.d/debian.sources 2>/dev/null || true)
    [[ -n $found ]] || found=$(awk '$1 == "deb" && $2 ~ /^http/ { print $2; exit }' /etc/apt/sources.list)
    [[ -n $found ]] || {
        echo "base_image.sh: found no Debian mirror in /etc/apt; expected a 'URIs:' or 'deb' line" >&2
        exit 2
    }
    echo "$found"
}

libraries=ca-certificates,netbase,tzdata,libssl3,libffi8,libsqlite3-0,zlib1g,libbz2-1.0,liblzma5,libreadline8,libncursesw6,libuuid1
debootstrap --variant=minbase --include="$libraries" bookworm "$root" "$(mirror)" >"$work/debootstrap.log" 2>&1 || {
    tail -n 20 "$work/debootstrap.log" >&2
    exit 1
}

base=$(python3 -c 'import sys; print(sys.base_prefix)')
version=python$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
mkdir -p "$root/usr/local/lib/$version"
cp -a "$base"/lib/libpython3*.so* "$root/usr/local/lib/" 2>/dev/null || true # a static build has none
tar -C "$base/lib/$version" --exclude=./site-packages --exclude=./test --exclude=__pycache__ -cf - . |
    tar -C "$root/usr/local/lib/$version" -xf -
cp -a "$base/bin/$version" "$root/usr/local/bin/"
ln -s "$version" "$root/usr/local/bin/python3"
ln -s "$version" "$root/usr/local/bin/python"
chroot "$root" ldconfig
chroot "$root" /usr/bin/env -i PATH=/usr/local/bin:/usr/bin:/bin python3 -m ensurepip >/dev/null 2>&1
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*

# Through a pipe, so that the system is on the disk once and not twice, as a tar too.
tar -C "$root" -cf - . | podman import --quiet \
    --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'ENV LANG=C.UTF-8' --change 'CMD ["python3"]' - "$name" >/dev/null
echo "base_image.sh: $name is there"
