/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <arpa/inet.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "http/connection.h"

/* What each address holds. There are never more of them than connections. */

void address_format(const struct sockaddr *address, struct http_peer *ret) {
        const struct in6_addr *six = &((const struct sockaddr_in6 *) address)->sin6_addr;
        const struct in_addr *four = &((const struct sockaddr_in *) address)->sin_addr;
        struct in6_addr network = {};

        ret->address[0] = ret->network[0] = 0;
        if (address->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(six))
                (void) inet_ntop(AF_INET, six->s6_addr + 12, ret->address, sizeof ret->address);
        else if (address->sa_family == AF_INET)
                (void) inet_ntop(AF_INET, four, ret->address, sizeof ret->address);
        else if (address->sa_family == AF_INET6) {
                /* whoever has one address of a /64 has all of them */
                memcpy(network.s6_addr, six->s6_addr, 8);
                (void) inet_ntop(AF_INET6, six, ret->address, sizeof ret->address);
                (void) inet_ntop(AF_INET6, &network, ret->network, sizeof ret->network);
                return;
        }
        memcpy(ret->network, ret->address, sizeof ret->network);
}

static struct address_list *bucket_of(struct addresses *addresses, const char *network) {
        uint32_t hash;

        while (addresses->seed == 0)
                if (getrandom(&addresses->seed, sizeof addresses->seed, 0) < 0)
                        addresses->seed = 1;
        hash = addresses->seed;
        for (; *network; network++)
                hash = (hash ^ (uint8_t) *network) * 16777619U;
        return addresses->buckets + (hash ^ hash >> 16) % ADDRESS_BUCKETS;
}

struct address *address_find(struct addresses *addresses, const char *network) {
        struct address *address;

        LIST_FOREACH (address, bucket_of(addresses, network), bucket)
                if (strcmp(address->network, network) == 0)
                        return address;
        return NULL;
}

struct address *address_hold(struct addresses *addresses, const char *network) {
        struct address *address = address_find(addresses, network);

        if (!address) {
                address = calloc(1, sizeof *address);
                if (!address)
                        return NULL;
                memcpy(address->network, network, strlen(network) + 1);
                TAILQ_INIT(&address->waiting);
                LIST_INSERT_HEAD(bucket_of(addresses, network), address, bucket);
        }
        address->n++;
        return address;
}

void address_drop(struct address *address) {
        if (!address || --address->n > 0)
                return;
        LIST_REMOVE(address, bucket);
        free(address);
}
