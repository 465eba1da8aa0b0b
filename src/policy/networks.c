/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/ini.h"
#include "policy/rules.h"

enum { NETWORKS_MAX = 256, WINDOW_MAX = 3600, ABSENCE_MAX = 10 * 365 * 86400, INTERVAL_MAX = 86400 };

/* ret_v4: written as IPv4, so that a prefix counts from there. */
static int address_parse(const char *text, uint8_t ret[static 16], bool *ret_v4) {
        static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
        struct in_addr v4;

        if (inet_pton(AF_INET, text, &v4) == 1) {
                memcpy(ret, mapped, sizeof(mapped));
                memcpy(ret + 12, &v4, 4);
                *ret_v4 = true;
                return 0;
        }
        if (inet_pton(AF_INET6, text, ret) == 1) {
                *ret_v4 = false;
                return 0;
        }
        return -EINVAL;
}

static bool same_prefix(const uint8_t a[static 16], const uint8_t b[static 16], unsigned prefix) {
        unsigned bytes = prefix / 8, bits = prefix % 8;

        return memcmp(a, b, bytes) == 0 && (bits == 0 || (a[bytes] ^ b[bytes]) >> (8 - bits) == 0);
}

/* ADDRESS or ADDRESS/PREFIX, without bits after the prefix: 10.0.0.1/8 is a mistake in one of both. */
static int network_parse(const char *text, struct policy_network *ret) {
        struct policy_network network = { .prefix = 128 };
        uint8_t masked[16] = {};
        char address[64];
        size_t length = strcspn(text, "/");
        uint64_t prefix;
        bool v4;

        if (length >= sizeof(address))
                return -EINVAL;
        memcpy(address, text, length);
        address[length] = '\0';
        if (address_parse(address, network.address, &v4) < 0)
                return -EINVAL;
        if (text[length] == '/') {
                if (parse_u64(text + length + 1, 0, v4 ? 32 : 128, &prefix) < 0)
                        return -EINVAL;
                network.prefix = (unsigned) prefix + (v4 ? 96 : 0);
        }

        memcpy(masked, network.address, network.prefix / 8);
        if (network.prefix % 8 > 0)
                masked[network.prefix / 8] = network.address[network.prefix / 8] & (uint8_t) (0xff00 >> network.prefix % 8);
        if (memcmp(masked, network.address, sizeof(masked)) != 0)
                return -ERANGE;

        *ret = network;
        return 0;
}

static int add_network(struct policy_release *release, const char *text, char *error, size_t size) {
        struct policy_network *networks, network;
        int r;

        r = network_parse(text, &network);
        if (r == -ERANGE)
                (void) snprintf(error, size, "%.64s has bits after its prefix: write the network's first address", text);
        else if (r < 0)
                (void) snprintf(error, size, "not a network: write 192.0.2.0/24 or 2001:db8::/32, several with spaces between");
        if (r < 0)
                return -EINVAL;
        if (release->n_networks >= NETWORKS_MAX) {
                (void) snprintf(error, size, "more than %d networks", NETWORKS_MAX);
                return -E2BIG;
        }

        networks = reallocarray(release->networks, release->n_networks + 1, sizeof(*networks));
        if (!networks)
                return -ENOMEM;
        release->networks = networks;
        networks[release->n_networks++] = network;
        return 0;
}

static int add_networks(struct policy_release *release, const char *value, char *error, size_t size) {
        char copy[4096], *save = NULL;
        size_t n = 0;
        int r;

        (void) snprintf(copy, sizeof(copy), "%s", value);
        for (char *word = strtok_r(copy, " \t", &save); word; word = strtok_r(NULL, " \t", &save), n++) {
                r = add_network(release, word, error, size);
                if (r < 0)
                        return r;
        }
        if (n == 0) {
                (void) snprintf(error, size, "no network: write at least one, or remove the line");
                return -EINVAL;
        }
        return 0;
}

static int set_seconds(const char *value, uint64_t max, uint64_t *seconds, char *error, size_t size) {
        if (*seconds > 0) {
                (void) snprintf(error, size, "is there already");
                return -EEXIST;
        }
        if (parse_seconds(value, max, seconds) < 0 || *seconds == 0) {
                (void) snprintf(error, size, "write a time such as 90s, 5min, 2h or 7d, at most %llu s",
                                (unsigned long long) max);
                return -EINVAL;
        }
        return 0;
}

/* 0 is a word for "no interval" that somebody has to write. */
static int set_interval(struct policy_release *release, const char *value, unsigned line, char *error, size_t size) {
        if (release->interval_line > 0) {
                (void) snprintf(error, size, "token-interval is there already");
                return -EEXIST;
        }
        release->interval_line = line;
        if (parse_seconds(value, INTERVAL_MAX, &release->token_interval) < 0) {
                (void) snprintf(error, size, "write a time such as 30s or 5min, at most %d s; 0 for no interval", INTERVAL_MAX);
                return -EINVAL;
        }
        return 0;
}

int release_parse(struct policy *policy, const char *key, const char *value, unsigned line, char *error, size_t size) {
        struct policy_release *release = &policy->release;

        if (strcmp(key, "token-evidence") == 0) {
                if (release->token_line > 0) {
                        (void) snprintf(error, size, "token-evidence is there already");
                        return -EEXIST;
                }
                release->token_line = line;
                return parse_bool(value, &release->token_evidence);
        }
        if (strcmp(key, "token-interval") == 0)
                return set_interval(release, value, line, error, size);
        if (strcmp(key, "another-nk-window") == 0)
                return set_seconds(value, WINDOW_MAX, &release->another_nk_window, error, size);
        if (strcmp(key, "max-absence") == 0)
                return set_seconds(value, ABSENCE_MAX, &release->max_absence, error, size);
        if (strcmp(key, "networks") == 0) {
                if (release->networks_line == 0)
                        release->networks_line = line;
                return add_networks(release, value, error, size);
        }
        return -ENOENT;
}

bool network_holds(const struct policy_release *release, const char *address) {
        char text[64];
        uint8_t bytes[16];
        bool v4;

        /* a link-local peer's zone is of this machine */
        if (!address || snprintf(text, sizeof(text), "%.*s", (int) strcspn(address, "%"), address) >= (int) sizeof(text) ||
            address_parse(text, bytes, &v4) < 0)
                return false;

        for (size_t i = 0; i < release->n_networks; i++)
                if (same_prefix(bytes, release->networks[i].address, release->networks[i].prefix))
                        return true;
        return false;
}
