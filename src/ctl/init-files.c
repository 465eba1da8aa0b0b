/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "ctl/init.h"

static int write_text(const char *staging, const char *role, const char *name, struct buffer *text) {
        _cleanup_(freep) char *path = init_path(staging, role, name);
        int r = buffer_ok(text);

        if (!path || r < 0)
                return log_oom();
        r = file_write(path, text->data, text->size, 0644);
        return r < 0 ? log_error_errno(r, "%s: %m", path) : 0;
}

static void server_section(struct buffer *text, const struct fleet *fleet, enum server server) {
        buffer_printf(text, "\n[%s]\nurl = https://%s:%u\nca = ca.pem\n", server_names[server], fleet->host[server],
                      fleet->port[server]);
}

/* A lab keeps its state beside its configuration, a fleet in the unit's StateDirectory=. */
static int write_server(const struct fleet *fleet, const char *staging, enum server server) {
        _cleanup_(buffer_done) struct buffer text = {};
        _cleanup_(freep) char *name = format("%s.conf", server_names[server]);
        _cleanup_(freep) char *state = fleet->lab ? strdup("") : format("/var/lib/tallyboot/%s/", server_names[server]);
        const char *role = server_names[server];

        if (!name || !state)
                return log_oom();
        buffer_printf(&text, "# The %s of this fleet. Paths are relative to this file. tallyboot-%s(8) has all keys.\n", role,
                      role);
        buffer_printf(
                &text,
                "[service]\nlisten = %s:%u\ncertificate = %s.pem\nkey = %s.key\nclient-ca = ca.pem\nclient-refuse = refused\n",
                fleet->listen, fleet->port[server], role, role);
        buffer_printf(&text, "database = %s%s.db\nmaster-key = %s.master\nek-roots = ek-roots\nek-certificates = required\n",
                      state, role, role);
        if (server == SERVER_TENANT)
                buffer_printf(&text, "payload-dir = %spayload\n", state);
        if (server != SERVER_REGISTRAR)
                server_section(&text, fleet, SERVER_REGISTRAR);
        if (server == SERVER_TENANT)
                server_section(&text, fleet, SERVER_VERIFIER);
        return write_text(staging, role, name, &text);
}

/* There from the start, so that the day when a key was stolen needs one line and a reload. */
static int write_refused(const char *staging, enum server server) {
        _cleanup_(buffer_done) struct buffer text = {};

        buffer_printf(
                &text,
                "# Whose certificates count no more, a line each: operator:NAME, monitor:NAME, tenant, verifier, registrar.\n"
                "# Then: systemctl reload tallyboot-%s\n",
                server_names[server]);
        return write_text(staging, server_names[server], "refused", &text);
}

/* Root without a capability owns the key files and can do nothing else that root can. */
static int write_unit(const struct fleet *fleet, const char *staging, enum server server) {
        _cleanup_(buffer_done) struct buffer text = {};
        const char *role = server_names[server];
        _cleanup_(freep) char *name = format("tallyboot-%s.service", role);
        _cleanup_(freep) char *dir = fleet->lab ? format("%s/%s", fleet->final, role) : format("/etc/tallyboot/%s", role);

        if (!name || !dir)
                return log_oom();
        buffer_printf(&text,
                      "[Unit]\nDescription=tallyboot %s\nDocumentation=man:tallyboot-%s(8)\n"
                      "Wants=network-online.target\nAfter=network-online.target\n\n",
                      role, role);
        buffer_printf(
                &text,
                "[Service]\nType=notify\nExecStart=%s/tallyboot-%s --config %s/%s.conf\nExecReload=/bin/kill -HUP $MAINPID\n"
                "Restart=on-failure\nRestartSec=1s\nLimitMEMLOCK=64M\nLimitNOFILE=16384\n",
                fleet->binaries, role, dir, role);
        if (fleet->lab)
                buffer_printf(&text, "ReadWritePaths=%s\n", dir);
        else
                buffer_printf(&text, "StateDirectory=tallyboot/%s%s\nStateDirectoryMode=0700\nPrivateTmp=yes\n", role,
                              server == SERVER_TENANT ? " tallyboot/tenant/payload" : "");
        buffer_printf(&text,
                      "UMask=0077\nCapabilityBoundingSet=\nNoNewPrivileges=yes\nProtectSystem=strict\nPrivateDevices=yes\n"
                      "ProtectKernelTunables=yes\nProtectKernelModules=yes\nProtectKernelLogs=yes\nProtectControlGroups=yes\n"
                      "ProtectClock=yes\nProtectHostname=yes\nProtectProc=invisible\n"
                      "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\nRestrictNamespaces=yes\nRestrictRealtime=yes\n"
                      "RestrictSUIDSGID=yes\nLockPersonality=yes\nMemoryDenyWriteExecute=yes\nSystemCallArchitectures=native\n"
                      "SystemCallFilter=@system-service\nSystemCallErrorNumber=EPERM\n\n"
                      "[Install]\nWantedBy=multi-user.target\n");
        return write_text(staging, role, name, &text);
}

static int write_operator(const struct fleet *fleet, const char *staging) {
        _cleanup_(buffer_done) struct buffer text = {};

        buffer_printf(&text,
                      "# For tallyctl. Paths are relative to this file.\n[operator]\nca = ca.pem\ncertificate = operator.pem\n"
                      "key = operator.key\n");
        for (size_t s = 0; s < SERVERS; s++)
                buffer_printf(&text, "%s = https://%s:%u\n", server_names[s], fleet->host[s], fleet->port[s]);
        return write_text(staging, "operator", "tallyctl.conf", &text);
}

static int write_node(const struct fleet *fleet, const char *staging) {
        _cleanup_(buffer_done) struct buffer text = {};

        buffer_printf(&text, "# The same file on every node of the fleet and in its initramfs: /etc/tallyboot/tallyboot.conf.\n"
                             "# tallyboot.conf(5) has all keys.\n[node]\n");
        for (size_t s = 0; s < SERVERS; s++)
                buffer_printf(&text, "%s = https://%s:%u\n", server_names[s],
                              fleet->node_host ? fleet->node_host : fleet->host[s], fleet->port[s]);
        buffer_printf(&text, "ca = /etc/tallyboot/ca.pem\n");
        return write_text(staging, "node", "tallyboot.conf", &text);
}

int init_write_files(const struct fleet *fleet, const char *staging) {
        int r = 0;

        for (enum server s = 0; s < SERVERS && r == 0; s++) {
                r = write_server(fleet, staging, s);
                if (r == 0)
                        r = write_unit(fleet, staging, s);
                if (r == 0)
                        r = write_refused(staging, s);
        }
        if (r == 0)
                r = write_operator(fleet, staging);
        if (r == 0)
                r = write_node(fleet, staging);
        return r;
}
