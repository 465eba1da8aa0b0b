/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "keystore/bootkey.h"

#include <linux/keyctl.h>
#include <sys/syscall.h>

/* All for whoever possesses it; view, read and search for the same user: to read by its number is not to possess, where the
 * session has no link to the user's keyring. Nothing for group and others. */
enum { PERMISSIONS = 0x3f0b0000, VALUE_MAX = 64 };

static int keyring_errno(void) {
        switch (errno) {
        case ENOKEY:
        case EKEYEXPIRED:
        case EKEYREVOKED:
                return -ENOENT;
        case ENOSYS:
        case EPERM:
        case EACCES:
                return -EOPNOTSUPP;
        default:
                return -errno;
        }
}

/* KEY_SPEC_USER_KEYRING is there whatever the session is. */
static int find(const char *name, long *ret) {
        long id = syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_USER_KEYRING, "user", name, 0);

        if (id < 0)
                return keyring_errno();
        *ret = id;
        return 0;
}

int bootkey_get(const char *name, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *secret = NULL;
        long id = 0, n;
        int r;

        r = find(name, &id);
        if (r >= 0)
                r = secret_new(VALUE_MAX, &secret);
        if (r < 0)
                return r;

        n = syscall(SYS_keyctl, KEYCTL_READ, id, secret->data, secret->size);
        if (n < 0)
                return keyring_errno();
        if (n == 0 || n > VALUE_MAX)
                return -EBADMSG;

        secret->size = (size_t) n;
        *ret = TAKE_PTR(secret);
        return 0;
}

/* Permissions are given by who possesses a key, and a session without a link to the user's keyring (a service of systemd) does
 * not possess what is in there: so the key is made in this thread's keyring, and shared when it may be read. In place of one of
 * the same name. */
int bootkey_put(const char *name, const struct secret *secret) {
        long id = 0;
        int r = 0;

        if (secret->size > VALUE_MAX)
                return -EINVAL;
        id = syscall(SYS_add_key, "user", name, secret->data, secret->size, KEY_SPEC_THREAD_KEYRING);
        if (id < 0)
                return keyring_errno();
        if (syscall(SYS_keyctl, KEYCTL_SETPERM, id, PERMISSIONS) < 0 ||
            syscall(SYS_keyctl, KEYCTL_LINK, id, KEY_SPEC_USER_KEYRING) < 0)
                r = keyring_errno();
        (void) syscall(SYS_keyctl, KEYCTL_UNLINK, id, KEY_SPEC_THREAD_KEYRING);
        return r;
}

int bootkey_drop(const char *name) {
        long id = 0;
        int r;

        r = find(name, &id);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        return syscall(SYS_keyctl, KEYCTL_UNLINK, id, KEY_SPEC_USER_KEYRING) < 0 ? keyring_errno() : 0;
}
