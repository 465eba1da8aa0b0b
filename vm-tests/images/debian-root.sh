#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# debian-root.sh: a real multi-user system with the product installed ($PRODUCT, if there is one) and not configured.
#
# Needs debian, kernel. Makes: root.img (ext4 in LUKS2), boot.efi (the UKI that boots it, as rebuild-uki makes it on the node)
set -euo pipefail

here=$(dirname "$(realpath "$0")")
luks_uuid=7a11b007-0000-4000-8000-000000000001
ext4_uuid=7a11b007-0000-4000-8000-0000000000e1

# Hard links: the cached tree must not be changed, so files are replaced and never edited.
cp -a --link "$IMAGES/debian/tree" tree
cp -a --remove-destination "$IMAGES/kernel/tree/." tree/
cp -a --remove-destination --no-preserve=ownership "$here/../guest/." tree/
[ -z "${PRODUCT:-}" ] || cp -a --remove-destination --no-preserve=ownership "$PRODUCT/." tree/
rm -f tree/etc/resolv.conf tree/etc/machine-id
: > tree/etc/machine-id
mkdir -p tree/efi

wants=tree/etc/systemd/system/multi-user.target.wants
mkdir -p "$wants"
ln -sf /etc/systemd/system/test-agent.service /lib/systemd/system/systemd-networkd.service "$wants/"
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
    e2scrub_reap.service systemd-networkd-wait-online.service lvm2-monitor.service; do
    ln -sf /dev/null "tree/etc/systemd/system/$unit"
done

"$here/in-tree" tree rebuild-uki --keep
mv tree/boot/new.efi boot.efi

size=$(($(du -sm tree | cut -f1) + 250))    # room for an initramfs or two, and a product
truncate -s "${size}M" root.img
mkfs.ext4 -q -F -m 0 -L debian -U "$ext4_uuid" -d tree root.img
"$here/luks.sh" root.img "$luks_uuid"
rm -rf tree
