/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tenant/payload-file.h"

#include <dirent.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "crypto/payload.h"
#include "tenant/tenant.h"

enum { BUFFER_SIZE = 65536, LEFT_OVER_S = 3600 };

static int check_header(const uint8_t *data, size_t size, const char *node, const struct wire_payload *announced) {
        struct payload_header header;

        if (size < PAYLOAD_HEADER_SIZE || payload_header_decode(data, &header) < 0)
                return -EBADMSG;
        return strcmp(header.node_id, node) == 0 && header.version == announced->version &&
                               payload_file_size(header.length) == announced->size
                       ? 0
                       : -EBADMSG;
}

static int copy(int from, int to, const char *node, const struct wire_payload *announced, EVP_MD_CTX *hash) {
        _cleanup_(freep) uint8_t *buffer = malloc(BUFFER_SIZE);
        uint64_t total = 0;
        uint8_t digest[32];
        ssize_t n;
        int r = 0;

        if (!buffer)
                return -ENOMEM;

        do {
                n = read_upto(from, buffer, BUFFER_SIZE);
                if (n < 0)
                        return (int) n;
                if (total == 0)
                        r = check_header(buffer, (size_t) n, node, announced);
                if (r >= 0 && n > 0)
                        r = EVP_DigestUpdate(hash, buffer, (size_t) n) == 1 ? write_all(to, buffer, (size_t) n) : -ENOMEM;
                if (r < 0)
                        return r;
                total += (uint64_t) n;
        } while (n == BUFFER_SIZE && total <= announced->size);

        if (EVP_DigestFinal_ex(hash, digest, NULL) != 1)
                return -ENOMEM;
        return total == announced->size && memcmp(digest, announced->sha256, sizeof(digest)) == 0 ? 0 : -EBADMSG;
}

static int copy_hashed(int from, int to, const char *node, const struct wire_payload *announced) {
        EVP_MD_CTX *hash = EVP_MD_CTX_new();
        int r;

        r = hash && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1 ? copy(from, to, node, announced, hash) : -ENOMEM;
        EVP_MD_CTX_free(hash);
        if (r >= 0 && fsync(to) < 0)
                r = -errno;
        return r;
}

static int sync_directory(const char *path) {
        _cleanup_(closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int payload_file_take(struct party_service *party, int fd, const char *node, const struct wire_payload *announced,
                      char **ret_path) {
        _cleanup_(freep) char *temporary = format("%s/%s.XXXXXX", party->service->config.payload_dir, node);
        _cleanup_(closep) int to = -1;
        int r;

        if (!temporary)
                return -ENOMEM;
        to = mkostemp(temporary, O_CLOEXEC); /* 0600 */
        if (to < 0)
                return -errno;

        r = copy_hashed(fd, to, node, announced);
        if (r < 0) {
                (void) unlink(temporary);
                return r;
        }
        *ret_path = TAKE_PTR(temporary);
        return 0;
}

int payload_file_name(struct party_service *party, const char *path, const char *node, uint64_t version) {
        _cleanup_(freep) char *final = payload_path(party, node, version);

        if (!final)
                return -ENOMEM;
        if (rename(path, final) < 0)
                return -errno;
        return sync_directory(party->service->config.payload_dir);
}

/* An upload that is under way is nobody's rest: what it was announced with says whether it becomes current. */
static bool is_left_over(int dir, const char *name) {
        struct stat st;

        return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
               clock_realtime_ms() / 1000 > (uint64_t) st.st_mtime + LEFT_OVER_S;
}

static bool is_in_the_way(int dir, const char *name, const char *node, uint64_t before) {
        const char *tail = name + NODE_ID_LENGTH;
        char *end;
        uint64_t version;

        if (strncmp(name, node, NODE_ID_LENGTH) != 0 || *tail != '.')
                return false;
        version = strtoull(tail + 1, &end, 10);
        return before == 0 || (strcmp(end, ".payload") == 0 ? version < before : is_left_over(dir, name));
}

void payload_files_remove(struct party_service *party, const char *node, uint64_t before) {
        const char *directory = party->service->config.payload_dir;
        DIR *dir = opendir(directory);

        if (!dir) {
                log_warning_errno(errno, "%s: %m", directory);
                return;
        }
        for (struct dirent *entry; (entry = readdir(dir));)
                if (is_in_the_way(dirfd(dir), entry->d_name, node, before) && unlinkat(dirfd(dir), entry->d_name, 0) < 0)
                        log_warning_errno(errno, "%s/%s is not removed: %m", directory, entry->d_name);

        (void) closedir(dir);
}
