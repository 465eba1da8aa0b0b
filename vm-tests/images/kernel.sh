#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# kernel.sh: Debian's kernel, downloaded and unpacked, not installed; and the few of its modules that the tests need.
# A small module tree is what makes dracut quick: its own --drivers hardly shrinks an image.
#
# Needs debian. Makes: vmlinuz, version, tree/ (boot/vmlinuz-VERSION and usr/lib/modules/VERSION).
set -euo pipefail

here=$(dirname "$(realpath "$0")")
debian=$IMAGES/debian/tree
# TPM drivers, efivarfs, securityfs and IMA are built in.
modules=(
    virtio_pci virtio_blk virtio_net virtio_rng virtio_console
    ext4 crc32c_generic crc32c_intel vfat nls_cp437 nls_ascii nls_utf8 overlay loop efivarfs qemu_fw_cfg
    dm_mod dm_crypt dm_integrity dm_snapshot dm_mirror dm_thin_pool xts cbc ecb essiv aesni_intel
    sha256_generic sha256_ssse3 sha512_generic drbg algif_skcipher algif_hash
    bonding 8021q
    xhci_pci ehci_pci uhci_hcd ohci_pci    # readers of smart cards
)

cp --dereference /etc/resolv.conf "$debian/etc/resolv.conf"
"$here/in-tree" "$debian" apt-get -qq update
package=$("$here/in-tree" "$debian" apt-cache depends linux-image-amd64 |
    sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
[ -n "$package" ] || { echo "kernel.sh: this Debian has no linux-image-amd64" >&2; exit 1; }

mkdir -p "$VM/debs"
if ! compgen -G "$VM/debs/${package}_*.deb" > /dev/null; then
    "$here/in-tree" "$debian" bash -c "cd /tmp && apt-get -qq -o APT::Sandbox::User=root download $package"
    mv "$debian/tmp/${package}"_*.deb "$VM/debs/"
fi
rm -rf "$debian"/var/lib/apt/lists/* "$debian"/var/cache/apt/*.bin

dpkg-deb -x "$VM/debs/${package}"_*.deb package
[ -d package/lib/modules ] || ln -sT usr/lib package/lib    # newer packages are merged into /usr
version=$(ls package/lib/modules)
echo "$version" > version
mkdir -p tree/boot "tree/usr/lib/modules/$version"
cp "package/boot/vmlinuz-$version" vmlinuz
cp vmlinuz "tree/boot/vmlinuz-$version"

# modprobe answers "insmod PATH" for a module and each that it needs, or "builtin NAME".
depmod -b package "$version"
modprobe --dirname "$PWD/package" --set-version "$version" --all --show-depends "${modules[@]}" |
    sed -n "s|^insmod $PWD/package/lib/modules/\([^ ]*\).*|\1|p" | sort -u > module-list
(cd package/lib/modules && xargs -a ../../../module-list cp --parents -t ../../../tree/usr/lib/modules)
cp package/lib/modules/"$version"/modules.{order,builtin,builtin.modinfo} "tree/usr/lib/modules/$version/"
# depmod looks in /lib/modules, which is a link in a real root and must not be a directory here.
ln -s usr/lib tree/lib
depmod -b tree "$version"
rm tree/lib
rm -rf package
