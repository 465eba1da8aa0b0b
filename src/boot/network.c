/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/file.h"
#include "boot/unlock.h"

int network_host(const char *url, char *ret, size_t size) {
        const char *host = strstr(url, "://");
        size_t length;

        if (!host)
                return -EINVAL;
        host += 3;
        if (*host == '[') {
                host++;
                length = strcspn(host, "]");
                if (host[length] != ']')
                        return -EINVAL;
        } else
                length = strcspn(host, ":/");
        if (length == 0 || length >= size)
                return -EINVAL;
        memcpy(ret, host, length);
        ret[length] = '\0';
        return 0;
}

/* Connecting a datagram socket asks the kernel for a route and sends nothing. */
static bool has_route(const struct addrinfo *address) {
        _cleanup_(closep) int fd = socket(address->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        return fd >= 0 && connect(fd, address->ai_addr, address->ai_addrlen) >= 0;
}

/* A name can be asked for as soon as any card has an address that is good for more than its own link. */
static bool has_address(void) {
        struct ifaddrs *list = NULL;
        bool found = false;

        if (getifaddrs(&list) < 0)
                return false;
        for (const struct ifaddrs *i = list; i && !found; i = i->ifa_next) {
                if (!i->ifa_addr || i->ifa_flags & IFF_LOOPBACK || !(i->ifa_flags & IFF_UP))
                        continue;
                if (i->ifa_addr->sa_family == AF_INET)
                        found = true;
                else if (i->ifa_addr->sa_family == AF_INET6) {
                        const uint8_t *address = (const uint8_t *) i->ifa_addr + 8; /* sockaddr_in6.sin6_addr */

                        found = !(address[0] == 0xfe && (address[1] & 0xc0) == 0x80);
                }
        }
        freeifaddrs(list);
        return found;
}

static bool is_reachable(const char *url) {
        struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_DGRAM }, *address = NULL;
        char host[256];
        bool reachable;

        if (network_host(url, host, sizeof host) < 0)
                return false;
        if (getaddrinfo(host, "443", &hints, &address) != 0)
                return strcmp(host, "localhost") == 0 || has_address();
        reachable = has_route(address);
        freeaddrinfo(address);
        return reachable;
}

static bool any_reachable(const struct config *config) {
        for (size_t party = 0; party < 2; party++)
                for (size_t i = 0; i < config->parties[party].n; i++)
                        if (is_reachable(config->parties[party].urls[i]))
                                return true;
        return false;
}

/* Whether a cable is in, as far as a card that is up can say. */
static bool has_link(const char *card) {
        _cleanup_(freep) char *path = format("/sys/class/net/%s/carrier", card);
        _cleanup_(blob_done) struct blob text = {};

        return path && file_read(path, 16, &text) >= 0 && text.data[0] == '1';
}

/* Words for why there is no route: no card, no link, no address. A slow machine is on its way to all of them. */
static void explain(char *error, size_t size) {
        DIR *dir = opendir("/sys/class/net");
        struct dirent *entry;
        const char *card = NULL;
        char name[IF_NAMESIZE + 1] = "";

        while (dir && (entry = readdir(dir)))
                if (entry->d_name[0] != '.' && strcmp(entry->d_name, "lo") != 0 && strlen(entry->d_name) < sizeof name) {
                        strcpy(name, entry->d_name);
                        card = name;
                        break;
                }
        if (dir)
                closedir(dir);
        if (!card)
                snprintf(error, size, "no network card was found; is its driver in the initramfs?");
        else if (!has_link(card))
                snprintf(error, size, "%s has no link yet; is the cable in, and the other end on?", card);
        else
                snprintf(error, size,
                         "%s has a link, and no address yet or no route to tenant and verifier; DHCP? ip= on the command line?",
                         card);
}

static int watch_routes(void) {
        struct sockaddr_nl address = { .nl_family = AF_NETLINK,
                                       .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR |
                                                    RTMGRP_IPV6_ROUTE };
        _cleanup_(closep) int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

        if (fd < 0 || bind(fd, (struct sockaddr *) &address, sizeof address) < 0)
                return -errno;
        return TAKE_FD(fd);
}

int network_wait(const struct config *config, uint64_t timeout_ms, int cancel_fd, char *error, size_t error_size) {
        uint64_t end = clock_monotonic_ms() + timeout_ms;
        _cleanup_(closep) int fd = -1;

        if (any_reachable(config))
                return 0;
        fd = watch_routes();
        for (;;) {
                uint64_t now = clock_monotonic_ms();
                struct pollfd fds[2] = { { fd, POLLIN, 0 }, { cancel_fd, POLLIN, 0 } };
                char drop[8192];

                if (any_reachable(config))
                        return 0;
                if (now >= end) {
                        explain(error, error_size);
                        return -ENOLINK;
                }
                /* Without the socket (fd < 0) this is a look once a second. */
                (void) poll(fds, 2, (int) MIN(end - now, fd < 0 ? (uint64_t) 1000 : (uint64_t) 5000));
                if (cancel_fd >= 0 && fds[1].revents)
                        return -ECANCELED;
                while (fd >= 0 && recv(fd, drop, sizeof drop, 0) > 0)
                        ;
        }
}
