#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Ask dracut for the network, where this machine is configured. An image that waits for a payload must not be taken to the
# emergency shell by dracut's own patience (rd.retry, 180 s) before the payload's time is over.

# systemd-networkd asks nobody for an address unless a file says so (dracut's other ways do, once rd.neednet=1 is said). Where
# neither the command line nor a file of the image says anything of the network: DHCP on what has a wire. systemd's own files
# (80-) are for containers and the like.
tallyboot_ask_dhcp() {
    for file in /etc/systemd/network/*.network /run/systemd/network/*.network /usr/lib/systemd/network/*.network; do
        case $file in
        */80-*) continue ;;
        esac
        [ -s "$file" ] && return 0
    done
    mkdir -p /run/systemd/network
    printf '[Match]\nType=ether\nKind=!*\n\n[Network]\nDHCP=yes\n' > /run/systemd/network/zz-tallyboot.network
}

if [ -e /etc/tallyboot/tallyboot.conf ]; then
    echo rd.neednet=1 > /etc/cmdline.d/05-tallyboot.conf
    getarg ip= > /dev/null || tallyboot_ask_dhcp
    if grep -Eqs '^[[:space:]]*payload[[:space:]]*=[[:space:]]*(yes|true|on|1)' /etc/tallyboot/tallyboot.conf \
        && ! getarg rd.retry= > /dev/null; then
        patience=$(sed -n 's/^[[:space:]]*payload-after[[:space:]]*=[[:space:]]*\([0-9]*\)s\{0,1\}[[:space:]]*$/\1/p' \
            /etc/tallyboot/tallyboot.conf)
        case $patience in
        '' | 0) patience=31536000 ;;
        esac
        echo "rd.retry=$((patience + 180))" >> /etc/cmdline.d/05-tallyboot.conf
    fi
fi
