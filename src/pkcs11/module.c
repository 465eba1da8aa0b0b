/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pkcs11/internal.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"

enum { HEAD_SIZE = 8192 }; /* the ELF header and the program headers, which linkers put behind it */

/* The loader would run the module's code, and its messages help nobody: what can be known is known before. */
static int check_file(const char *path) {
        _cleanup_(closep) int fd = -1;
        uint8_t head[HEAD_SIZE];
        struct stat st;
        const char *why;
        ssize_t n;

        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0 || fstat(fd, &st) < 0)
                return fail(ELIBBAD, "the PKCS#11 module %s: %s", path, strerror(errno));
        if (!S_ISREG(st.st_mode))
                return fail(ELIBBAD, "the PKCS#11 module %s is not a file", path);
        n = pread(fd, head, sizeof(head), 0);
        if (n < 0)
                return fail(ELIBBAD, "the PKCS#11 module %s: %s", path, strerror(errno));
        if (elf_check(head, (size_t) n, (uint64_t) st.st_size, &why) < 0)
                return fail(ELIBBAD, "the PKCS#11 module %s is %s", path, why);
        return 0;
}

static int load_path(const char *path, struct modules *ret) {
        CK_FUNCTION_LIST **list;
        char number[32];
        int r;
        CK_RV rv;

        if (path[0] != '/')
                return fail(EINVAL, "the PKCS#11 module \"%s\": write its whole path", path);
        r = check_file(path);
        if (r < 0)
                return r;
        list = calloc(2, sizeof(*list));
        if (!list)
                return fail(ENOMEM, "out of memory");
        list[0] = p11_kit_module_load(path, P11_KIT_MODULE_CRITICAL);
        if (!list[0]) {
                free(list);
                return fail(ELIBBAD, "the PKCS#11 module %s cannot be loaded: %s", path,
                            p11_kit_message() ? p11_kit_message() : "not a PKCS#11 module");
        }
        rv = p11_kit_module_initialize(list[0]);
        if (rv != CKR_OK) {
                p11_kit_module_release(list[0]);
                free(list);
                return fail(ELIBBAD, "the PKCS#11 module %s does not start: C_Initialize says %s", path, rv_name(rv, number));
        }
        *ret = (struct modules){ .list = list };
        return 0;
}

static int load_configured(const char *name, struct modules *ret) {
        CK_FUNCTION_LIST **list = p11_kit_modules_load_and_initialize(0);

        if (!list || !list[0]) {
                p11_kit_modules_finalize_and_release(list);
                return fail(ELIBBAD, "no PKCS#11 module is configured, and p11-kit's configuration has none: name one");
        }
        if (name) {
                CK_FUNCTION_LIST *module = p11_kit_module_for_name(list, name);

                if (!module) {
                        p11_kit_modules_finalize_and_release(list);
                        return fail(ELIBBAD, "p11-kit's configuration has no module of the name \"%s\"", name);
                }
        }
        *ret = (struct modules){ .list = list, .configured = true, .name = name };
        return 0;
}

/* RFC 7512, 2.3: module-path may be the directory that module-name is in, which is without "lib" and suffix. */
static int load_from_directory(const char *directory, const char *name, struct modules *ret) {
        if (strchr(name, '/'))
                return fail(EINVAL, "module-name=%s in the PKCS#11 URI is not a name", name);
        for (unsigned lib = 0; lib < 2; lib++) {
                _cleanup_(freep) char *path = format("%s/%s%s.so", directory, lib ? "lib" : "", name);

                if (!path)
                        return fail(ENOMEM, "out of memory");
                if (access(path, F_OK) == 0)
                        return load_path(path, ret);
        }
        return fail(ELIBBAD, "%s has neither %s.so nor lib%s.so", directory, name, name);
}

int modules_load(const struct pkcs11_where *where, P11KitUri *uri, struct modules *ret) {
        const char *path = p11_kit_uri_get_module_path(uri), *name = p11_kit_uri_get_module_name(uri);
        struct stat st;

        p11_kit_be_quiet();
        if (where->module)
                return load_path(where->module, ret);
        if (path && name && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
                return load_from_directory(path, name, ret);
        if (path)
                return load_path(path, ret);
        return load_configured(name, ret);
}

void modules_done(struct modules *modules) {
        if (!modules->list)
                return;
        if (modules->configured)
                p11_kit_modules_finalize_and_release(modules->list);
        else {
                (void) p11_kit_module_finalize(modules->list[0]);
                p11_kit_module_release(modules->list[0]);
                free(modules->list);
        }
        *modules = (struct modules){};
}
