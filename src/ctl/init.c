/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/init.h"

#include <dirent.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/ini.h"
#include "ctl/ca.h"
#include "ctl/cert.h"
#include "keystore/keystore.h"

enum { FIRST_PORT = 7601 };

char *init_path(const char *staging, const char *role, const char *name) {
        return format("%s/%s/%s", staging, role, name);
}

static int make_certificates(const struct fleet *fleet, const struct ca *ca, const char *staging) {
        int r = 0;

        for (size_t s = 0; s < SERVERS && r == 0; s++) {
                const char *role = server_names[s], *hosts[] = { fleet->host[s], fleet->node_host, NULL };
                _cleanup_(freep) char *uri = format("urn:tallyboot:%s", role), *name = format("tallyboot %s", role);
                _cleanup_(freep) char *pem = format("%s/%s/%s.pem", staging, role, role),
                                      *key = format("%s/%s/%s.key", staging, role, role);

                if (!uri || !name || !pem || !key)
                        return log_oom();
                r = ca_issue(ca, &(struct leaf){ .common_name = name, .uri = uri, .hosts = hosts }, pem, key);
        }
        if (r < 0)
                return r;

        _cleanup_(freep) char *uri = format("urn:tallyboot:operator:%s", fleet->operator_name);
        _cleanup_(freep) char *pem = init_path(staging, "operator", "operator.pem"),
                              *key = init_path(staging, "operator", "operator.key");
        if (!uri || !pem || !key)
                return log_oom();
        return ca_issue(ca, &(struct leaf){ .common_name = fleet->operator_name, .uri = uri }, pem, key);
}

static int copy_file(const char *from, const char *to) {
        _cleanup_(blob_done) struct blob data = {};
        int r = file_read(from, 1024 * 1024, &data);

        if (r == 0)
                r = file_write(to, data.data, data.size, 0644);
        return r < 0 ? log_error_errno(r, "%s to %s: %m", from, to) : 0;
}

static int copy_roots(const char *from, const char *to) {
        struct dirent **names = NULL;
        int n = scandir(from, &names, NULL, alphasort), r = 0, copied = 0;

        if (n < 0)
                return log_error_errno(errno, "--ek-roots %s: %m", from);
        for (int i = 0; i < n; i++) {
                _cleanup_(freep) char *a = path_join(from, names[i]->d_name), *b = path_join(to, names[i]->d_name);
                struct stat st;

                if (r == 0 && (!a || !b))
                        r = log_oom();
                if (r == 0 && stat(a, &st) == 0 && S_ISREG(st.st_mode)) {
                        r = copy_file(a, b);
                        copied++;
                }
                free(names[i]);
        }
        free(names);
        if (r == 0 && copied == 0)
                return log_error_errno(-ENOENT, "--ek-roots %s: no certificates are in it, so no TPM would be accepted.", from);
        return r;
}

/* What each server needs besides its certificate: CA, master key, vendor roots. */
static int fill_server(const struct fleet *fleet, const char *staging, const char *role) {
        _cleanup_(freep) char *ca = init_path(staging, "ca", "ca.pem"), *own = init_path(staging, role, "ca.pem");
        _cleanup_(freep) char *roots = init_path(staging, role, "ek-roots"), *payload = init_path(staging, role, "payload");
        _cleanup_(freep) char *master = format("%s/%s/%s.master", staging, role, role);
        int r;

        if (!ca || !own || !roots || !payload || !master)
                return log_oom();
        r = copy_file(ca, own);
        if (r < 0)
                return r;
        r = keystore_create_master(master);
        if (r == 0 && (mkdir(roots, 0755) < 0 || (strcmp(role, "tenant") == 0 && fleet->lab && mkdir(payload, 0700) < 0)))
                r = -errno;
        if (r < 0)
                return log_error_errno(r, "%s/%s: %m", staging, role);
        return fleet->ek_roots ? copy_roots(fleet->ek_roots, roots) : 0;
}

static int make_directories(const char *staging) {
        static const char *const names[] = { "ca", "registrar", "tenant", "verifier", "operator", "node" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_(freep) char *path = path_join(staging, names[i]);

                if (!path || mkdir(path, 0700) < 0)
                        return log_error_errno(path ? errno : ENOMEM, "%s/%s: %m", staging, names[i]);
        }
        return 0;
}

static int fill(const struct fleet *fleet, const char *staging) {
        _cleanup_(ca_done) struct ca ca = {};
        _cleanup_(freep) char *pem = init_path(staging, "ca", "ca.pem"), *key = init_path(staging, "ca", "ca.key");
        _cleanup_(freep) char *operator_ca = init_path(staging, "operator", "ca.pem"),
                              *node_ca = init_path(staging, "node", "ca.pem");
        int r;

        if (!pem || !key || !operator_ca || !node_ca)
                return log_oom();
        r = make_directories(staging);
        if (r == 0)
                r = ca_new("tallyboot fleet CA", &ca);
        if (r == 0)
                r = ca_save(&ca, pem, key);
        if (r == 0)
                r = make_certificates(fleet, &ca, staging);
        for (size_t s = 0; s < SERVERS && r == 0; s++)
                r = fill_server(fleet, staging, server_names[s]);
        if (r == 0)
                r = copy_file(pem, operator_ca);
        if (r == 0)
                r = copy_file(pem, node_ca);
        if (r == 0)
                r = init_write_files(fleet, staging);
        return r;
}

static void remove_tree(const char *path) {
        struct dirent **names = NULL;
        int n = scandir(path, &names, NULL, NULL);

        for (int i = 0; i < n; i++) {
                _cleanup_(freep) char *inside = path_join(path, names[i]->d_name);

                if (inside && strcmp(names[i]->d_name, ".") != 0 && strcmp(names[i]->d_name, "..") != 0 && unlink(inside) < 0)
                        remove_tree(inside);
                free(names[i]);
        }
        free(names);
        (void) rmdir(path);
}

/* Everything is made beside the directory and then moved into place: a run that fails leaves nothing. */
static int make_fleet(const struct fleet *fleet) {
        _cleanup_(freep) char *staging = format("%s.new-XXXXXX", fleet->final);
        int r;

        if (!staging)
                return log_oom();
        if (rmdir(fleet->final) < 0 && errno != ENOENT)
                return log_error_errno(errno, "%s exists: give another directory, nothing is overwritten.", fleet->final);
        if (!mkdtemp(staging))
                return log_error_errno(errno, "%s: %m", staging);
        r = fill(fleet, staging);
        if (r == 0 && rename(staging, fleet->final) < 0)
                r = log_error_errno(errno, "%s: %m", fleet->final);
        if (r < 0)
                remove_tree(staging);
        return r;
}

static int take_host(struct fleet *fleet, enum server server, const char *text) {
        const char *colon = strrchr(text, ':');
        size_t length = colon && !strchr(colon, ']') ? (size_t) (colon - text) : strlen(text);
        uint64_t port;

        if (length == 0 || length >= sizeof fleet->host[server])
                return -EINVAL;
        if (text[length] == ':') {
                if (parse_u64(text + length + 1, 1, 65535, &port) < 0)
                        return -EINVAL;
                fleet->port[server] = (unsigned) port;
        }
        memcpy(fleet->host[server], text, length);
        fleet->host[server][length] = '\0';
        return strspn(fleet->host[server], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") == length
                       ? 0
                       : -EINVAL;
}

static const char usage[] =
        "tallyctl init --dir DIR --registrar HOST[:PORT] --tenant HOST[:PORT] --verifier HOST[:PORT]\n"
        "tallyctl init --dir DIR --lab\n\n"
        "Makes a fleet in DIR: a CA, a directory for each server with certificate, configuration, master key and systemd unit, one for\n"
        "the operator, one for the nodes. Copy each to its machine; whoever has two of them has more than any one should.\n\n"
        "  --lab               all three on this machine, on 127.0.0.1\n"
        "  --port N            lab: the first of three ports (default 7601)\n"
        "  --listen ADDRESS    what the servers bind (default 0.0.0.0; lab: 127.0.0.1)\n"
        "  --node-host HOST    another name or address under which nodes reach the servers\n"
        "  --operator NAME     the operator's name in the audit log (default: operator)\n"
        "  --ek-roots DIR      vendor certificates that EK certificates must lead to; copied to each server\n";

static int take_option(struct fleet *fleet, int c) {
        uint64_t port;

        switch (c) {
        case 'r':
                return take_host(fleet, SERVER_REGISTRAR, optarg);
        case 't':
                return take_host(fleet, SERVER_TENANT, optarg);
        case 'v':
                return take_host(fleet, SERVER_VERIFIER, optarg);
        case 'p':
                if (parse_u64(optarg, 1, 65533, &port) < 0)
                        return -EINVAL;
                for (unsigned s = 0; s < SERVERS; s++)
                        fleet->port[s] = (unsigned) port + s;
                return 0;
        case 'd':
                fleet->dir = optarg;
                return 0;
        case 'l':
                fleet->lab = true;
                return 0;
        case 'L':
                fleet->listen = optarg;
                return 0;
        case 'n':
                fleet->node_host = optarg;
                return 0;
        case 'o':
                fleet->operator_name = optarg;
                return 0;
        case 'e':
                fleet->ek_roots = optarg;
                return 0;
        default:
                return -EINVAL;
        }
}

static void say_wrong(const struct option *options, int c) {
        for (const struct option *option = options; option->name; option++)
                if (option->val == c && c == 'p')
                        log_error("--port %s: the first of three ports, 1 to 65533.", optarg);
                else if (option->val == c)
                        log_error(
                                "--%s %s: a host's name or address, and a port if it is another than usual: ten.example:7602. No https://.",
                                option->name, optarg);
        if (c == '?')
                log_error("\"tallyctl init --help\" has all options.");
}

static int complete(struct fleet *fleet) {
        char parent[PATH_MAX], self[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
        char *slash;

        if (n > 0) {
                self[n] = '\0';
                slash = strrchr(self, '/');
                snprintf(fleet->binaries, sizeof fleet->binaries, "%.*s", slash ? (int) (slash - self) : 0, self);
        }
        if (!fleet->listen)
                fleet->listen = fleet->lab ? "127.0.0.1" : "0.0.0.0";
        for (size_t s = 0; s < SERVERS; s++) {
                if (fleet->lab && !fleet->host[s][0])
                        snprintf(fleet->host[s], sizeof fleet->host[s], "127.0.0.1");
                if (!fleet->host[s][0])
                        return log_error("Say where the %s will be: --%s HOST[:PORT], or --lab for all on this machine.",
                                         server_names[s], server_names[s]),
                               -EINVAL;
        }
        if (!cert_name_is_valid(fleet->operator_name))
                return log_error("--operator: letters, digits, dots, dashes only."), -EINVAL;
        if (fleet->dir[0] == '/')
                snprintf(fleet->final, sizeof fleet->final, "%s", fleet->dir);
        else if (!getcwd(parent, sizeof parent) ||
                 (size_t) snprintf(fleet->final, sizeof fleet->final, "%s/%s", parent, fleet->dir) >= sizeof fleet->final)
                return log_error("%s: this path is too long.", fleet->dir), -ENAMETOOLONG;
        for (size_t length = strlen(fleet->final); length > 1 && fleet->final[length - 1] == '/'; length--)
                fleet->final[length - 1] = '\0';
        return 0;
}

static void say_what_next(const struct fleet *fleet) {
        printf("The fleet is in %s:\n", fleet->final);
        for (size_t s = 0; s < SERVERS; s++)
                printf("  %-10s https://%s:%u\n", server_names[s], fleet->host[s], fleet->port[s]);
        if (fleet->lab)
                printf("\nStart the servers, then ask for their health:\n"
                       "  systemctl link %s/*/tallyboot-*.service && systemctl start tallyboot-registrar tallyboot-tenant tallyboot-verifier\n"
                       "  tallyctl --config %s/operator/tallyctl.conf health\n",
                       fleet->final, fleet->final);
        else
                printf("\nCopy registrar/, tenant/, verifier/ to /etc/tallyboot/ on three machines and start the unit in each;\n"
                       "operator/ to the operator's /etc/tallyboot/; the files of node/ to /etc/tallyboot/ on every node.\n"
                       "Keep ca/ off line: it makes certificates. Try: tallyctl --config %s/operator/tallyctl.conf health\n",
                       fleet->final);
        if (!fleet->ek_roots)
                printf("\nNo TPM will be accepted before the certificates of its vendor are in ek-roots/ of all three servers.\n");
}

int ctl_init(struct ctl *ctl, int argc, char *argv[]) {
        static const struct option options[] = {
                { "dir", required_argument, NULL, 'd' },
                { "lab", no_argument, NULL, 'l' },
                { "registrar", required_argument, NULL, 'r' },
                { "tenant", required_argument, NULL, 't' },
                { "verifier", required_argument, NULL, 'v' },
                { "port", required_argument, NULL, 'p' },
                { "listen", required_argument, NULL, 'L' },
                { "node-host", required_argument, NULL, 'n' },
                { "operator", required_argument, NULL, 'o' },
                { "ek-roots", required_argument, NULL, 'e' },
                { "help", no_argument, NULL, 'h' },
                {},
        };
        struct fleet fleet = { .operator_name = "operator", .port = { FIRST_PORT, FIRST_PORT + 1, FIRST_PORT + 2 } };
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                if (c == 'h')
                        return fputs(usage, stdout), CTL_OK;
                else if (take_option(&fleet, c) < 0)
                        return say_wrong(options, c), CTL_USAGE;
        if (optind != argc || !fleet.dir)
                return fputs(usage, stderr), log_error("%s", fleet.dir ? "init takes options only." : "Say where: --dir DIR."),
                       CTL_USAGE;
        if (complete(&fleet) < 0)
                return CTL_USAGE;
        if (make_fleet(&fleet) < 0)
                return CTL_FAILURE;
        if (ctl->json)
                ctl_print_taken(json_pack("{s:s}", "dir", fleet.final));
        else
                say_what_next(&fleet);
        return CTL_OK;
}
