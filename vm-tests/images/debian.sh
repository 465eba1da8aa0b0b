#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# debian.sh: a small Debian, unpacked as a tree. It is where initramfs images are built (with the dracut, the
# libraries and the paths that a real node has, and without touching the host), and what the test roots are made of.
#
# Makes: tree/
set -euo pipefail

here=$(dirname "$(realpath "$0")")
suite=$("$here/suite")
# From where the host itself gets its packages.
# shellcheck disable=SC2016  # apt-get expands it
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -n 1)}
packages=$(grep -v '^#' "$here/debian.packages" | paste -sd,)

# Packages outlive a change of the list above; a file that is already there is not fetched again.
mkdir -p "$VM/debs"

# debootstrap mounts /proc inside the tree: in a mount namespace of its own that leaves nothing behind.
unshare --mount --propagation private \
    debootstrap --variant=minbase --cache-dir="$VM/debs" --include="$packages" "$suite" tree "$mirror" > debootstrap.log ||
    { tail -n 20 debootstrap.log >&2; exit 1; }

# What nobody reads in a test makes a third of the image.
rm -rf tree/usr/share/{doc,man,locale,info,lintian} tree/var/cache/apt/* tree/var/cache/debconf/*-old tree/var/log/*
