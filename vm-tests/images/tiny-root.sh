#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# tiny-root.sh: a root with one static program, which says what it found and powers off: enough for most scenarios.
#
# Makes: root.img (ext4 in LUKS2), plain.img (the same file system, not encrypted, with the same UUID), init (that program)
set -euo pipefail

here=$(dirname "$(realpath "$0")")
luks_uuid=7a11b007-0000-4000-8000-000000000002
ext4_uuid=7a11b007-0000-4000-8000-0000000000e2

mkdir -p tree/{dev,etc,proc,run,sbin,sys,tmp,usr/lib,var}
gcc -static -O2 -D_GNU_SOURCE -Wall -Wextra -o tree/sbin/init "$here/tiny-init.c"
echo 'ID=tiny' > tree/etc/os-release    # systemd does not switch to a root without it

truncate -s 16M plain.img
mkfs.ext4 -q -F -O ^has_journal -m 0 -L tiny -U "$ext4_uuid" -d tree plain.img
cp plain.img root.img
"$here/luks.sh" root.img "$luks_uuid"
mv tree/sbin/init .
rm -rf tree
