#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# dracut module: the unlocker, its units, the TPM's drivers, the fleet's configuration and CA, and what a configured PKCS#11 token
# needs (token-setup.sh). Dracut 059 and dracut-ng.
#
# In an image without /etc/tallyboot/tallyboot.conf everything is inert: a generic image can be built without it and get it
# from a second cpio. dracut.conf: tallyboot_allow_sshd=yes permits an ssh server in the image.

tallyboot_dir=/etc/tallyboot
tallyboot_conf=$tallyboot_dir/tallyboot.conf

# Without a configuration only where it is asked for by name.
check() {
    require_binaries tallyboot || return 1
    [[ -e ${dracutsysrootdir-}$tallyboot_conf ]] && return 0
    return 255
}

depends() {
    local deps="systemd systemd-initrd dracut-systemd crypt" name
    # dracut-ng has systemd's part of crypt in a module of its own.
    for name in systemd-cryptsetup systemd-ask-password; do
        compgen -G "${dracutbasedir:-/usr/lib/dracut}/modules.d/[0-9][0-9]$name" > /dev/null && deps+=" $name"
    done
    [[ -e ${dracutsysrootdir-}$tallyboot_conf ]] && deps+=" network"
    echo "$deps"
}

installkernel() {
    hostonly='' instmods '=drivers/char/tpm'
    hostonly='' instmods -o algif_skcipher dm_crypt
    # shellcheck source=dracut/90tallyboot/token-setup.sh
    . "$moddir/token-setup.sh"
    tallyboot_token_installkernel
}

# value KEY: from the configuration, empty where it is not there.
tallyboot_value() {
    sed -n "s/^[[:space:]]*$1[[:space:]]*=[[:space:]]*\(.*[^[:space:]]\)[[:space:]]*$/\1/p" \
        "${dracutsysrootdir-}$tallyboot_conf" 2> /dev/null | tail -n 1
}

# A shell with an open gate is a way to the halves: over the network just as on the console.
tallyboot_refuse_sshd() {
    local name
    [[ ${tallyboot_allow_sshd-} == yes ]] && return 0
    for name in sshd dropbear crypt-ssh earlyssh tinyssh; do
        if dracut_module_included "$name"; then
            dfatal "tallyboot: the module $name puts an ssh server into the initramfs, where a login could fetch this machine's" \
                "halves. Leave it out, or say tallyboot_allow_sshd=yes in dracut.conf."
            kill -INT $$ # nothing a module returns stops dracut
            return 1
        fi
    done
}

# Without systemd's program dracut's module resumes from a hook and a udev rule of its own, which wait for no gate.
tallyboot_refuse_resume_hook() {
    dracut_module_included resume || return 0
    [[ -x ${dracutsysrootdir-}$systemdutildir/systemd-hibernate-resume ]] && return 0
    dfatal "tallyboot: the module resume would resume a hibernation image before the gate is closed, for want of" \
        "$systemdutildir/systemd-hibernate-resume. Leave it out: omit_dracutmodules+=\" resume \"."
    kill -INT $$
    return 1
}

# Certificates are held against a clock that is not behind this. From the files, so that the image is reproducible.
tallyboot_build_time() {
    local file newest=${SOURCE_DATE_EPOCH:-0} time
    if [[ $newest == 0 ]]; then
        for file in "$@"; do
            time=$(stat -L -c %Y "${dracutsysrootdir-}$file" 2> /dev/null) || continue
            ((time > newest)) && newest=$time
        done
    fi
    echo "$newest" > "$initdir$tallyboot_dir/build-time"
}

# With a mistake in it no boot gets its halves. What is asked for here is nothing: the verb reads the configuration, and finds no
# unlocker. A tree that is built for another machine may have a program of another architecture.
tallyboot_check_configuration() {
    local said
    [[ -n ${dracutsysrootdir-} ]] && return 0
    said=$(tallyboot --config "$tallyboot_conf" --run-dir "$initdir/nowhere" wait settled 2>&1) && return 0
    derror "tallyboot: $said This image would ask for a passphrase in each boot."
}

tallyboot_install_configuration() {
    local ca
    ca=$(tallyboot_value ca)
    ca=${ca:-$tallyboot_dir/ca.pem}
    tallyboot_check_configuration
    inst_simple "$tallyboot_conf"
    inst_simple "$ca" || derror "tallyboot: the CA $ca is missing: this image would not trust any server"
    tallyboot_build_time "$(command -v tallyboot)" "$tallyboot_conf" "$ca"
}

tallyboot_install_units() {
    local file
    while IFS= read -r file; do
        inst_simple "$moddir/system/$file" "$systemdsystemunitdir/$file"
    done < <(cd "$moddir/system" && find . -type f | sed 's|^\./||' | LC_ALL=C sort)
    $SYSTEMCTL -q --root "$initdir" add-wants sysinit.target tallyboot-unlock.service
}

# The libraries that a shared object is linked with.
tallyboot_libraries() {
    ldd "${dracutsysrootdir-}$1" 2> /dev/null | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p'
}

# A shared object and what it is linked with: dracut itself follows only files that may be executed.
tallyboot_inst_library() {
    local -a libraries
    mapfile -t libraries < <(tallyboot_libraries "$1")
    inst_library "$1"
    [[ ${#libraries[@]} -eq 0 ]] || inst_multiple "${libraries[@]}"
}

# Opened with dlopen() too, and nothing works without it.
tallyboot_install_libcurl() {
    local dir
    # shellcheck disable=SC2154 # dracut's
    for dir in $libdirs; do
        [[ -e ${dracutsysrootdir-}$dir/libcurl.so.4 ]] || continue
        tallyboot_inst_library "$dir/libcurl.so.4"
        return
    done
    derror "tallyboot: libcurl.so.4 is missing: this image can ask no server, and each boot needs a passphrase. Install libcurl."
}

install() {
    tallyboot_refuse_sshd || return 1
    tallyboot_refuse_resume_hook || return 1

    inst_multiple tallyboot systemctl
    # Opened with dlopen(), so no dependency says so: the TPM's transport, name resolution, unwinding of threads.
    inst_libdir_file 'libtss2-tcti-device.so*' 'libnss_dns.so*' 'libnss_files.so*' 'libgcc_s.so*'
    tallyboot_install_libcurl
    inst_multiple -o /etc/services /etc/protocols
    if [[ ! -e $initdir/etc/nsswitch.conf ]]; then
        mkdir -p "$initdir/etc"
        printf 'passwd: files\ngroup: files\nhosts: files dns\n' > "$initdir/etc/nsswitch.conf"
    fi

    mkdir -p "$initdir$tallyboot_dir"
    inst_hook cmdline 05 "$moddir/tallyboot-cmdline.sh"
    tallyboot_install_units
    inst_simple "$moddir/90-tallyboot-initramfs.rules" "$udevdir/rules.d/90-tallyboot.rules"
    if [[ -e ${dracutsysrootdir-}$tallyboot_conf ]]; then
        tallyboot_install_configuration
    else
        tallyboot_build_time "$(command -v tallyboot)"
    fi
    # shellcheck source=dracut/90tallyboot/token-setup.sh
    . "$moddir/token-setup.sh"
    tallyboot_token_install
}
