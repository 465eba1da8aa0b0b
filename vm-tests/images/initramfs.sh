#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# initramfs.sh [MODULE | KEY=VALUE...]: the initramfs that a -kernel boot starts from, as dracut makes it on a node that has the
# product installed ($PRODUCT, if there is one). Nothing of a machine is in it (no hostonly, no crypttab, no configuration):
# each test appends its own files. KEY=VALUE: it is made on a node with this in its tallyboot.conf, which each test replaces.
#
# Needs debian, kernel. Makes: initramfs.img
set -euo pipefail

here=$(dirname "$(realpath "$0")")
version=$(cat "$IMAGES/kernel/version")
modules="base systemd systemd-initrd dracut-systemd udev-rules rootfs-block kernel-modules dm crypt"
modules+=" systemd-networkd shutdown"
configuration=()
for word in "$@"; do
    case $word in
        *=*) configuration+=("$word") ;;
        *) modules+=" $word" ;;
    esac
done
drivers="virtio_pci virtio_blk virtio_net virtio_rng ext4 crc32c_generic dm_crypt xts aesni_intel"

# Hard links: the cached tree must not be changed, so files are replaced and never edited.
cp -a --link "$IMAGES/debian/tree" tree
cp -a --remove-destination "$IMAGES/kernel/tree/." tree/
if [ -n "${PRODUCT:-}" ]; then
    cp -a --remove-destination --no-preserve=ownership "$PRODUCT/." tree/
    modules+=" tallyboot"
fi
cp "$here/../guest/etc/systemd/network/20-dhcp.network" tree/
if [ ${#configuration[@]} -gt 0 ]; then
    mkdir -p tree/etc/tallyboot
    printf '%s\n' "[node]" "${configuration[@]}" > tree/etc/tallyboot/tallyboot.conf
    touch tree/etc/tallyboot/ca.pem
fi

"$here/in-tree" tree dracut --force --quiet \
    --no-hostonly --no-hostonly-cmdline --no-early-microcode --nostrip --tmpdir /tmp \
    --kver "$version" --modules "$modules" --add-drivers "$drivers" \
    --install "bash cat cmp dd dmsetup head ls mkdir od rm sleep swapon sync touch" \
    --include /20-dhcp.network /etc/systemd/network/20-dhcp.network \
    --compress "zstd -3 -T0" \
    /initramfs.img 2>&1 | tee dracut.log
# Where a file is missing dracut says so, makes an image without it, and ends with 0.
if grep -q 'FAILED\|ERROR\|cannot be found' dracut.log; then
    echo "initramfs.sh: incomplete image, see above" >&2
    exit 1
fi
mv tree/initramfs.img .
rm -rf tree
