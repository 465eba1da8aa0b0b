/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/space.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/clock.h"
#include "base/log.h"
#include "service/service.h"

enum { LOOK_MS = 500, FAILED_MS = 5000, RETRY_S = 60 };

static uint64_t free_bytes(const char *path) {
        struct statvfs fs;

        return statvfs(path, &fs) < 0 ? UINT64_MAX : (uint64_t) fs.f_bavail * fs.f_frsize;
}

static enum space look(const struct service *service, uint64_t now) {
        const struct service_config *config = &service->config;
        uint64_t floor = (uint64_t) config->free_space * 1024 * 1024, left = free_bytes(config->database);
        uint64_t failed = atomic_load(&service->space_failed);

        if (failed > 0 && now - failed < FAILED_MS && left < MAX(floor, UINT64_C(1) << 20))
                return SPACE_NONE;
        if (config->payload_dir)
                left = MIN(left, free_bytes(config->payload_dir));
        return left < floor ? SPACE_LOW : SPACE_GOOD;
}

static void say(enum space before, enum space now, const struct service *service) {
        if (now == before)
                return;
        if (now == SPACE_NONE)
                log_error(
                        "There is no room on the disk for an audit record: nothing is released until there is. Make room where %s "
                        "lies.",
                        service->config.database);
        else if (now == SPACE_LOW)
                log_error("Less than %u MB are free on the disk: no registration, enrollment or upload is taken until there is "
                          "more; releases go on. Make room where %s lies.",
                          service->config.free_space, service->config.database);
        else
                log_notice("There is room on the disk again.");
}

enum space service_space(struct service *service) {
        uint64_t now = clock_monotonic_ms(), looked = atomic_load(&service->space_looked);
        enum space space;

        if (looked > 0 && now - looked < LOOK_MS)
                return (enum space) atomic_load(&service->space);

        atomic_store(&service->space_looked, now);
        space = look(service, now);
        say((enum space) atomic_exchange(&service->space, (int) space), space, service);
        return space;
}

bool service_upload_has_room(const struct service *service) {
        return look(service, clock_monotonic_ms()) == SPACE_GOOD;
}

void service_space_failed(struct service *service) {
        atomic_store(&service->space_failed, clock_monotonic_ms());
        atomic_store(&service->space_looked, 0);
}

const char *space_to_string(enum space space) {
        switch (space) {
        case SPACE_LOW:
                return "low-space";
        case SPACE_NONE:
                return "full";
        default:
                return "ok";
        }
}

bool service_refuses_new_work(const struct service_call *call, struct http_response *response) {
        if (service_space(call->service) == SPACE_GOOD)
                return false;

        response->retry_after = RETRY_S;
        service_problem(call, response, "unavailable", "This service has little room left: nothing new is taken for now.");
        return true;
}
