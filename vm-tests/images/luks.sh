#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# luks.sh IMAGE UUID: turn a file system image into a LUKS2 volume, in place. Everybody's passphrase is in
# images/passphrase: it can be typed, or used as a key file. Needs no device-mapper: reencrypt works in user space.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
image=$1 uuid=$2

truncate -s +32M "$image"    # the header's room; twice that of the header, says cryptsetup
# PBKDF2 with few rounds makes a test quick and needs no gigabyte of memory. It is for tests alone.
cryptsetup --batch-mode reencrypt --encrypt --type luks2 --reduce-device-size 32M \
    --key-file "$here/passphrase" --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "$image"
cryptsetup --batch-mode luksUUID --uuid "$uuid" "$image"
