/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/pid1.h"

#include <stdio.h>
#include <string.h>
#include <systemd/sd-bus.h>

#include "base/log.h"

#define PRIVATE_SOCKET "unix:path=/run/systemd/private"
#define MANAGER "org.freedesktop.systemd1.Manager"
#define UNIT "org.freedesktop.systemd1.Unit"
#define SERVICE "org.freedesktop.systemd1.Service"
#define PATH "/org/freedesktop/systemd1"

enum { TIMEOUT_US = 10 * 1000 * 1000 };

struct pid1 {
        sd_bus *bus;
};

int pid1_open(struct pid1 **ret) {
        _cleanup_(pid1_freep) struct pid1 *pid1 = calloc(1, sizeof *pid1);
        int r;

        if (!pid1)
                return -ENOMEM;
        if (access("/run/systemd/private", F_OK) < 0)
                return -errno;
        r = sd_bus_new(&pid1->bus);
        if (r < 0)
                return r;
        r = sd_bus_set_address(pid1->bus, PRIVATE_SOCKET);
        if (r < 0)
                return r;
        r = sd_bus_start(pid1->bus); /* no Hello: PID 1 is no bus daemon */
        if (r < 0)
                return r;
        (void) sd_bus_set_method_call_timeout(pid1->bus, TIMEOUT_US);
        *ret = TAKE_PTR(pid1);
        return 0;
}

struct pid1 *pid1_free(struct pid1 *pid1) {
        if (!pid1)
                return NULL;
        sd_bus_flush_close_unref(pid1->bus);
        free(pid1);
        return NULL;
}

static int read_text(struct pid1 *pid1, const char *path, const char *property, char *ret, size_t size) {
        _cleanup_(freep) char *text = NULL;
        int r = sd_bus_get_property_string(pid1->bus, NULL, path, UNIT, property, NULL, &text);

        if (r < 0)
                return r;
        snprintf(ret, size, "%s", text);
        return 0;
}

int pid1_unit(struct pid1 *pid1, const char *name, struct pid1_unit *ret) {
        _cleanup_(freep) char *path = NULL;
        struct pid1_unit unit = {};
        char load[32];
        uint32_t main_pid = 0;
        int r;

        r = sd_bus_path_encode(PATH "/unit", name, &path);
        if (r < 0)
                return r;
        r = read_text(pid1, path, "LoadState", load, sizeof load);
        if (r < 0)
                return r;
        r = read_text(pid1, path, "ActiveState", unit.active, sizeof unit.active);
        if (r < 0)
                return r;
        r = read_text(pid1, path, "SubState", unit.sub, sizeof unit.sub);
        if (r < 0)
                return r;
        unit.loaded = strcmp(load, "loaded") == 0;
        if (unit.loaded && sd_bus_get_property_trivial(pid1->bus, NULL, path, SERVICE, "MainPID", NULL, 'u', &main_pid) >= 0)
                unit.main_pid = main_pid;
        *ret = unit;
        return 0;
}

static int call(struct pid1 *pid1, const char *method, const char *unit) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *reply = NULL;
        int r = sd_bus_call_method(pid1->bus, NULL, PATH, MANAGER, method, &error, &reply, "ss", unit, "replace");

        if (r < 0)
                log_debug_errno(r, "%s of %s: %s", method, unit, error.message ? error.message : "?");
        sd_bus_message_unref(reply);
        return r < 0 ? r : 0;
}

int pid1_restart(struct pid1 *pid1, const char *name) {
        return call(pid1, "RestartUnit", name);
}

int pid1_start(struct pid1 *pid1, const char *name) {
        return call(pid1, "StartUnit", name);
}
