/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <curl/curl.h>

/* libcurl's functions, loaded when an exchange first needs them. Distributions link it with some forty libraries for
 * protocols that tallyboot never speaks: they are more than half of what the start of a process costs, and of the processes of a
 * boot (wait, opened, gate, check-root, ...) one asks servers. */
struct curl_library {
        typeof(curl_global_init) *global_init;
        typeof(curl_easy_init) *easy_init;
        typeof(curl_easy_cleanup) *easy_cleanup;
        typeof(curl_easy_reset) *easy_reset;
        typeof(curl_easy_setopt) *easy_setopt;
        typeof(curl_easy_getinfo) *easy_getinfo;
        typeof(curl_easy_strerror) *easy_strerror;
        typeof(curl_multi_init) *multi_init;
        typeof(curl_multi_cleanup) *multi_cleanup;
        typeof(curl_multi_add_handle) *multi_add_handle;
        typeof(curl_multi_remove_handle) *multi_remove_handle;
        typeof(curl_multi_perform) *multi_perform;
        typeof(curl_multi_poll) *multi_poll;
        typeof(curl_multi_info_read) *multi_info_read;
        typeof(curl_slist_append) *slist_append;
        typeof(curl_slist_free_all) *slist_free_all;
};
extern struct curl_library curl; /* for whoever has seen curl_load() return 0 */

/* Loads it, once for the process. From any thread; others wait for the one that does it. -ELIBACC: it cannot be loaded,
 * curl_load_error() says why. */
int curl_load(void);
const char *curl_load_error(void);
