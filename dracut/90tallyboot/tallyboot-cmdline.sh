#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Ask dracut for the network, where this machine is configured. An image that waits for a payload must not be taken to the emergency
# shell by dracut's own patience (rd.retry, 180 s) before the payload's time is over.
if [ -e /etc/tallyboot/tallyboot.conf ]; then
    echo rd.neednet=1 > /etc/cmdline.d/05-tallyboot.conf
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
