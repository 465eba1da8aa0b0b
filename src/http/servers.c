/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/ini.h"
#include "http/client.h"

enum {
        SERVERS_MAX = 16,
        URL_MAX = 512,
};

#define SCHEME "https://"

void http_server_list_done(struct http_server_list *list) {
        for (size_t i = 0; i < list->n; i++)
                free(list->urls[i]);
        free(list->urls);
        *list = (struct http_server_list){};
}

/* host, 192.0.2.1 or [2001:db8::1], then maybe ":port", and nothing else: no user, no path. */
static bool authority_is_valid(const char *text) {
        uint64_t port;
        size_t length;

        if (text[0] == '[') {
                length = 1 + strspn(text + 1, "0123456789abcdefABCDEF:.");
                if (length < 3 || text[length] != ']')
                        return false;
                length++;
        } else {
                length = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_");
                if (length == 0 || length > 253)
                        return false;
        }
        return text[length] == 0 || (text[length] == ':' && parse_u64(text + length + 1, 1, 65535, &port) >= 0);
}

static int add_url(const char *text, size_t length, struct http_server_list *list) {
        char *url;

        if (length > 0 && text[length - 1] == '/')
                length--;
        if (list->n == SERVERS_MAX || length > URL_MAX)
                return -EINVAL;
        url = strndup(text, length);
        if (!url)
                return -ENOMEM;
        list->urls[list->n++] = url;
        return strncmp(url, SCHEME, strlen(SCHEME)) == 0 && authority_is_valid(url + strlen(SCHEME)) ? 0 : -EINVAL;
}

int http_server_list_parse(const char *text, struct http_server_list *ret) {
        static const char separators[] = " \t,";
        _cleanup_(http_server_list_done) struct http_server_list list = {};
        int r;

        list.urls = calloc(SERVERS_MAX, sizeof list.urls[0]);
        if (!list.urls)
                return -ENOMEM;
        for (text += strspn(text, separators); *text; text += strspn(text, separators)) {
                size_t length = strcspn(text, separators);

                r = add_url(text, length, &list);
                if (r < 0)
                        return r;
                text += length;
        }
        if (list.n == 0)
                return -EINVAL;

        *ret = list;
        list = (struct http_server_list){};
        return 0;
}
