/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "service/service.h"

/* Certificates that count no more, by whose they are: a line each, operator:NAME, monitor:NAME, tenant, verifier or registrar.
 * There is no list that the CA signs: the CA lies off line, and a stolen key is to be locked out in a minute. */

enum { LIST_SIZE_MAX = 1 << 20 };

static bool is_whose(const char *text) {
        static const char *const roles[] = { "tenant", "verifier", "registrar" };
        static const char *const people[] = { "operator:", "monitor:" };

        for (size_t i = 0; i < ELEMENTSOF(roles); i++)
                if (strcmp(text, roles[i]) == 0)
                        return true;
        for (size_t i = 0; i < ELEMENTSOF(people); i++)
                if (strncmp(text, people[i], strlen(people[i])) == 0)
                        return service_name_is_valid(text + strlen(people[i]));
        return false;
}

static char *trim(char *line) {
        size_t n;

        line[strcspn(line, "#")] = '\0';
        line += strspn(line, " \t\r");
        for (n = strlen(line); n > 0 && strchr(" \t\r", line[n - 1]); n--)
                line[n - 1] = '\0';
        return line;
}

int service_refuse_parse(char *text, char **ret, char *error, size_t error_size) {
        _cleanup_(freep) char *list = strdup("\n");
        unsigned number = 0;

        for (char *line = text, *next = text; list && next; line = next) {
                size_t length = strcspn(line, "\n");
                char *whose, *grown;

                next = line[length] ? line + length + 1 : NULL;
                line[length] = '\0';
                number++;
                whose = trim(line);
                if (!*whose)
                        continue;
                if (!is_whose(whose)) {
                        (void) snprintf(error, error_size,
                                        "line %u: wanted operator:NAME, monitor:NAME, tenant, verifier or registrar, not '%.80s'",
                                        number, whose);
                        return -EBADMSG;
                }
                grown = format("%surn:tallyboot:%s\n", list, whose);
                free(list);
                list = grown;
        }
        if (!list)
                return -ENOMEM;
        *ret = TAKE_PTR(list);
        return 0;
}

static int load(const char *path, char **ret) {
        _cleanup_(blob_done) struct blob file = {};
        _cleanup_(freep) char *text = NULL;
        char error[160] = "";
        int r;

        r = file_read(path, LIST_SIZE_MAX, &file);
        if (r >= 0) {
                text = strndup((const char *) file.data, file.size);
                r = text ? service_refuse_parse(text, ret, error, sizeof(error)) : -ENOMEM;
        }
        return r < 0 ? log_error_errno(r, "client-refuse %s: %s.", path, error[0] ? error : strerror(-r)) : 0;
}

int service_refuse_load(struct service *service) {
        const char *path = service->config.client_refuse;
        char *list = NULL, *old;
        size_t n = 0;
        int r;

        r = path ? load(path, &list) : 0;
        if (r < 0)
                return r;
        for (const char *p = list; p && (p = strstr(p, "urn:")); p++)
                n++;
        if (n > 0)
                log_info("Certificates of %zu names are refused (%s).", n, path);

        (void) pthread_rwlock_wrlock(&service->ek_lock);
        old = service->refused;
        service->refused = list;
        (void) pthread_rwlock_unlock(&service->ek_lock);
        free(old);
        return 0;
}

bool service_refuses_client(struct service *service, const char *uri) {
        char line[264];
        bool found;

        (void) snprintf(line, sizeof(line), "\n%s\n", uri);
        (void) pthread_rwlock_rdlock(&service->ek_lock);
        found = service->refused && strstr(service->refused, line);
        (void) pthread_rwlock_unlock(&service->ek_lock);
        return found;
}
