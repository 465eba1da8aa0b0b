#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Read by module-setup.sh: what the PKCS#11 token of a machine without a TPM needs, and nothing where none is configured.
#
# From tallyboot.conf: token-module, or module-path of the URIs, or p11-kit's configuration; a PIN's file or credential.
# A generic image that gets its tallyboot.conf from a second cpio names its modules in dracut.conf:
# tallyboot_token_modules="/usr/lib/softhsm/libsofthsm2.so".

tallyboot_token_keys="token-key offline-key offline-mac-key"

# uri_attribute URI NAME: an attribute of its query, decoded.
tallyboot_uri_attribute() {
    local -a attributes
    local attribute
    [[ $1 == *\?* ]] || return 0
    IFS='&' read -r -a attributes <<< "${1#*\?}"
    for attribute in "${attributes[@]}"; do
        [[ $attribute == "$2="* ]] || continue
        attribute=${attribute#*=}
        printf '%b' "${attribute//%/\\x}"
        return 0
    done
}

# As p11-kit finds the module of a file of its configuration: NAME.module, or all but those that only hold trusted certificates.
tallyboot_p11_kit_modules() {
    local file module dir
    for file in "${dracutsysrootdir-}"/{etc/pkcs11,usr/share/p11-kit}/modules/${1:-*}.module; do
        [[ -e $file ]] || continue
        grep -q '^[[:space:]]*trust-policy:[[:space:]]*yes' "$file" && continue
        module=$(sed -n 's/^[[:space:]]*module:[[:space:]]*\(.*[^[:space:]]\)[[:space:]]*$/\1/p' "$file")
        for dir in $libdirs; do
            [[ $module == /* || ! -e ${dracutsysrootdir-}$dir/pkcs11/$module ]] || module=$dir/pkcs11/$module
        done
        [[ $module == /* && -e ${dracutsysrootdir-}$module ]] && echo "${file#"${dracutsysrootdir-}"} $module"
    done
}

# module-path of a URI: a module, or the directory of the one that module-name names (RFC 7512, 2.3).
tallyboot_uri_module() {
    local path name file
    path=$(tallyboot_uri_attribute "$1" module-path)
    name=$(tallyboot_uri_attribute "$1" module-name)
    if [[ -n $name && -d ${dracutsysrootdir-}$path ]]; then
        for file in "$path/$name.so" "$path/lib$name.so"; do
            [[ -e ${dracutsysrootdir-}$file ]] && echo "$file" && return 0
        done
    fi
    echo "$path"
}

# Lines "MODULE", or "FILE MODULE" where p11-kit's configuration names it.
tallyboot_token_modules() {
    local key uri module name
    printf '%s\n' ${tallyboot_token_modules-}
    module=$(tallyboot_value token-module)
    for key in $tallyboot_token_keys; do
        uri=$(tallyboot_value "$key")
        [[ -n $uri ]] || continue
        name=${module:-$(tallyboot_uri_module "$uri")}
        if [[ -n $name ]]; then
            echo "$name"
        else
            tallyboot_p11_kit_modules "$(tallyboot_uri_attribute "$uri" module-name)"
        fi
    done | LC_ALL=C sort -u
}

# Whether the module talks to readers of smart cards: it, or a library that it is linked with, names PC/SC's.
tallyboot_token_needs_pcsc() {
    local file
    while read -r file; do
        grep -qa 'libpcsclite\.so' "$file" && return 0
    done < <(echo "${dracutsysrootdir-}$1" && tallyboot_libraries "$1")
    return 1
}

tallyboot_token_installkernel() {
    local module
    while read -r module; do
        tallyboot_token_needs_pcsc "${module##* }" || continue
        hostonly='' instmods '=drivers/usb/host'
        return 0
    done < <(tallyboot_token_modules | grep .)
}

tallyboot_token_install_module() {
    local tokens
    case $(readlink -f "${dracutsysrootdir-}$1") in
        */libsofthsm2.so)
            # The folder of tokens stays empty: an unencrypted image is no place for keys. Without it the module does not start.
            inst_simple /etc/softhsm/softhsm2.conf
            tokens=$(sed -n 's/^[[:space:]]*directories\.tokendir[[:space:]]*=[[:space:]]*//p' \
                "${dracutsysrootdir-}/etc/softhsm/softhsm2.conf" 2> /dev/null | tail -n 1)
            mkdir -p "$initdir${tokens:-/var/lib/softhsm/tokens}"
            ;;
        */opensc-pkcs11.so | */onepin-opensc-pkcs11.so)
            inst_simple /etc/opensc/opensc.conf
            ;;
    esac
    tallyboot_inst_library "$1"
}

# The daemon with its socket, the driver for USB readers, and drivers for serial ones that are configured. Our units instead of
# the distribution's: those start after sysinit.target, which waits for the volume that is to be opened.
tallyboot_token_install_pcsc() {
    local bundle file
    [[ -e $initdir$systemdsystemunitdir/tallyboot-unlock.service.d/20-pcscd.conf ]] && return 0
    inst_multiple pcscd
    inst_libdir_file 'libpcsclite.so.*' 'libpcsclite_real.so.*'    # opened with dlopen()
    for bundle in "${dracutsysrootdir-}"/usr/lib{,64}/pcsc/drivers/*.bundle; do
        [[ -e $bundle ]] || continue
        inst_simple "${bundle#"${dracutsysrootdir-}"}/Contents/Info.plist"
        for file in "$bundle"/Contents/Linux/*.so; do
            tallyboot_inst_library "${file#"${dracutsysrootdir-}"}"
        done
    done
    mkdir -p "$initdir/etc/reader.conf.d"
    for file in "${dracutsysrootdir-}"/etc/reader.conf.d/*; do
        grep -qs '^[[:space:]]*LIBPATH' "$file" || continue
        inst_simple "${file#"${dracutsysrootdir-}"}"
        while read -r file; do
            tallyboot_inst_library "$file"
        done < <(sed -n 's/^[[:space:]]*LIBPATH[[:space:]]*//p' "$file")
    done
    inst_simple "$moddir/token/pcscd.service" "$systemdsystemunitdir/pcscd.service"
    inst_simple "$moddir/token/pcscd.socket" "$systemdsystemunitdir/pcscd.socket"
    # Newer ones ask polkit, which is not there, unless they are told not to.
    if pcscd --help 2> /dev/null | grep -q -e --disable-polkit; then
        sed -i 's/^ExecStart=.*/& --disable-polkit/' "$initdir$systemdsystemunitdir/pcscd.service"
    fi
    inst_simple "$moddir/token/20-pcscd.conf" "$systemdsystemunitdir/tallyboot-unlock.service.d/20-pcscd.conf"
}

tallyboot_token_install_pin_file() {
    inst_simple "$1" || return 1
    dwarn "tallyboot: whoever reads this image reads the token's PIN ($1)"
}

# A PIN in a file is brought; one in a credential is handed to the unlocker, wherever systemd finds it: systemd.exec(5).
tallyboot_token_install_pin() {
    local pin=$1 dropin=$systemdsystemunitdir/tallyboot-unlock.service.d/20-token-pin.conf
    case $pin in
        file:/run/* | '') ;;
        file:/* | /*)
            pin=${pin#file:}
            [[ ${pin:0:3} == /// ]] && pin=${pin#//}
            tallyboot_token_install_pin_file "$pin" || derror "tallyboot: the file with the token's PIN is missing: $pin"
            ;;
        credential:*)
            pin=${pin#credential:}
            mkdir -p "$initdir${dropin%/*}"
            printf '[Service]\nLoadCredential=%s\n' "$pin" > "$initdir$dropin"
            [[ -e ${dracutsysrootdir-}/etc/credstore/$pin ]] && tallyboot_token_install_pin_file "/etc/credstore/$pin"
            ;;
    esac
}

tallyboot_token_install() {
    local file module key modules
    modules=$(tallyboot_token_modules | grep .) || return 0
    while read -r file module; do
        if [[ -z $module ]]; then
            module=$file
        else
            inst_simple "$file"
            inst_simple /etc/pkcs11/pkcs11.conf
        fi
        if [[ ! -e ${dracutsysrootdir-}$module ]]; then
            derror "tallyboot: the PKCS#11 module $module is missing: this image cannot use the machine's token"
            continue
        fi
        tallyboot_token_install_module "$module"
        tallyboot_token_needs_pcsc "$module" && tallyboot_token_install_pcsc
    done <<< "$modules"
    # What asks a person for the PIN, and answers on the console.
    inst_multiple systemd-ask-password systemd-tty-ask-password-agent
    tallyboot_token_install_pin "$(tallyboot_value token-pin)"
    for key in $tallyboot_token_keys; do
        tallyboot_token_install_pin "$(tallyboot_uri_attribute "$(tallyboot_value "$key")" pin-source)"
    done
}
