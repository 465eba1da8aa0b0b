/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/ini.h"
#include "ctl/ctl.h"

const char *const server_names[SERVERS] = { "registrar", "tenant", "verifier" };

struct loading {
        struct ctl *ctl;
        const char *dir; /* relative paths are relative to the configuration file */
};

static int take_path(const char *dir, const char *value, char **ret) {
        char *path = value[0] == '/' ? strdup(value) : path_join(dir, value);

        if (!path)
                return -ENOMEM;
        free(*ret);
        *ret = path;
        return 0;
}

static int take_servers(const char *role, const char *value, struct http_server_list *ret, char *error, size_t error_size) {
        if (ret->n > 0 || http_server_list_parse(value, ret) < 0) {
                snprintf(error, error_size, "not a list of https:// addresses, or given twice");
                return -EINVAL;
        }
        ret->role = role;
        return 0;
}

static int take_key(const char *section, const char *key, const char *value, unsigned line, char *error, size_t error_size,
                    void *userdata) {
        struct loading *loading = userdata;
        struct ctl *ctl = loading->ctl;

        (void) line;
        if (strcmp(section, "operator") == 0) {
                for (size_t i = 0; i < SERVERS; i++)
                        if (strcmp(key, server_names[i]) == 0)
                                return take_servers(server_names[i], value, ctl->servers + i, error, error_size);
                if (strcmp(key, "ca") == 0)
                        return take_path(loading->dir, value, &ctl->ca);
                if (strcmp(key, "certificate") == 0)
                        return take_path(loading->dir, value, &ctl->certificate);
                if (strcmp(key, "key") == 0)
                        return take_path(loading->dir, value, &ctl->key);
        }
        snprintf(error, error_size,
                 "unknown key \"%s\" in section [%s]; known are ca, certificate, key, registrar, tenant, verifier in [operator]",
                 key, section);
        return -ENOENT;
}

static char *find_config(const char *path) {
        const char *home = getenv("HOME");

        if (!path)
                path = getenv("TALLYCTL_CONFIG");
        if (path)
                return strdup(path);
        if (home) {
                _cleanup_(freep) char *mine = format("%s/.config/tallyboot/tallyctl.conf", home);

                if (mine && access(mine, R_OK) == 0)
                        return TAKE_PTR(mine);
        }
        return strdup("/etc/tallyboot/operator/tallyctl.conf");
}

static int check_complete(const struct ctl *ctl, const char *path) {
        const char *missing = !ctl->ca ? "ca" : !ctl->certificate ? "certificate" : !ctl->key ? "key" : NULL;

        for (size_t i = 0; i < SERVERS && !missing; i++)
                if (ctl->servers[i].n == 0)
                        missing = server_names[i];
        if (!missing)
                return 0;
        log_error("%s: \"%s\" is missing in [operator].", path, missing);
        return -EINVAL;
}

int ctl_load_config(struct ctl *ctl, const char *given) {
        _cleanup_(freep) char *path = find_config(given);
        _cleanup_(blob_done) struct blob text = {};
        char error[256], dir[PATH_MAX];
        int r;

        if (!path)
                return log_oom();
        r = file_read(path, 65536, &text);
        if (r < 0)
                return log_error_errno(r, "%s: %m. Name the operator's configuration with --config; \"tallyctl init\" makes one.",
                                       path);

        snprintf(dir, sizeof dir, "%s", path);
        char *slash = strrchr(dir, '/');
        if (slash)
                *slash = '\0';
        struct loading loading = { .ctl = ctl, .dir = slash ? dir : "." };
        r = ini_parse((char *) text.data, text.size, take_key, &loading, error, sizeof error);
        if (r < 0) {
                log_error("%s:%s", path, error);
                return r;
        }
        return check_complete(ctl, path);
}

void ctl_done(struct ctl *ctl) {
        for (size_t i = 0; i < SERVERS; i++)
                http_server_list_done(ctl->servers + i);
        http_client_free(ctl->client);
        free(ctl->ca);
        free(ctl->certificate);
        free(ctl->key);
}
