/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/pack.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"

static uint64_t entry_length(const struct pack_entry *entry) {
        return 1 + 2 + 2 + strlen(entry->name) + (entry->directory ? 0 : 8 + entry->size);
}

static int add_entry(struct pack *pack, const char *source, const char *name, const struct stat *st) {
        struct pack_entry entry = { .directory = S_ISDIR(st->st_mode), .mode = st->st_mode & 0777 };
        struct pack_entry *grown;

        if (!archive_path_is_valid(name, strlen(name))) {
                log_error("%s: this name cannot be in a payload (control characters, or longer than 1024 bytes).", source);
                return -EINVAL;
        }
        grown = reallocarray(pack->entries, pack->n + 1, sizeof *grown);
        if (!grown)
                return -ENOMEM;
        pack->entries = grown;
        entry.size = entry.directory ? 0 : (uint64_t) st->st_size;
        entry.source = strdup(source);
        entry.name = strdup(name);
        pack->entries[pack->n++] = entry;
        if (!entry.source || !entry.name)
                return -ENOMEM;
        pack->length += entry_length(&entry);
        if (pack->length > PACK_LENGTH_MAX) {
                log_error("The payload is larger than %d MiB.", PACK_LENGTH_MAX / 1024 / 1024);
                return -EFBIG;
        }
        return 0;
}

/* One part of the name after the other, none of them a link: what was a directory a moment ago may be one now. */
static int open_below(int top, const char *name, int flags) {
        _cleanup_(closep) int fd = -1;

        for (;;) {
                char part[NAME_MAX + 1];
                size_t n = strcspn(name, "/");
                int next;

                if (n > NAME_MAX)
                        return -ENAMETOOLONG;
                memcpy(part, name, n);
                part[n] = '\0';
                next = openat(fd < 0 ? top : fd, part, (name[n] ? O_PATH | O_DIRECTORY : flags) | O_NOFOLLOW | O_CLOEXEC);
                if (next < 0)
                        return -errno;
                if (!name[n])
                        return next;
                closep(&fd);
                fd = next;
                name += n + 1;
        }
}

static int collect_directory(struct pack *pack, int fd, const char *dir, const char *prefix);

static int collect_below(struct pack *pack, const char *source, const char *name) {
        _cleanup_(closep) int fd = open_below(pack->top, name, O_RDONLY | O_DIRECTORY);

        return fd < 0 ? log_error_errno(fd, "%s: %m", source) : collect_directory(pack, fd, source, name);
}

static int collect_one(struct pack *pack, const char *source, const char *name) {
        _cleanup_(closep) int fd = open_below(pack->top, name, O_PATH);
        struct stat st;
        int r;

        if (fd < 0 || fstat(fd, &st) < 0)
                return log_error_errno(fd < 0 ? -fd : errno, "%s: %m", source);
        if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
                log_error("%s: only files and directories can be in a payload, no links, devices or sockets.", source);
                return -EINVAL;
        }
        r = add_entry(pack, source, name, &st);
        return r < 0 || !S_ISDIR(st.st_mode) ? r : collect_below(pack, source, name);
}

static int collect_directory(struct pack *pack, int fd, const char *dir, const char *prefix) {
        struct dirent **names = NULL;
        int n, r = 0;

        n = scandirat(fd, ".", &names, NULL, alphasort);
        if (n < 0)
                return log_error_errno(errno, "%s: %m", dir);
        for (int i = 0; i < n; i++) {
                const char *name = names[i]->d_name;

                if (r == 0 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
                        _cleanup_(freep) char *source = path_join(dir, name),
                                              *inside = *prefix ? path_join(prefix, name) : strdup(name);

                        r = source && inside ? collect_one(pack, source, inside) : -ENOMEM;
                }
                free(names[i]);
        }
        free(names);
        return r;
}

/* The directory that path is, or that it is in. */
static int open_top(const char *path, const char **ret_name) {
        const char *slash = strrchr(path, '/');
        _cleanup_(freep) char *parent = slash ? strndup(path, (size_t) (slash - path) + 1) : strdup(".");
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        *ret_name = NULL;
        if (fd < 0 && errno == ENOTDIR && parent) {
                *ret_name = slash ? slash + 1 : path;
                fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        }
        return fd < 0 ? log_error_errno(errno, "%s: %m", path) : fd;
}

int pack_collect(const char *path, struct pack *ret) {
        struct pack pack = { .length = 1 }; /* the end entry */
        const char *name;
        int r;

        r = pack.top = open_top(path, &name);
        if (r >= 0)
                r = name ? collect_one(&pack, path, name) : collect_directory(&pack, pack.top, path, "");
        if (r < 0) {
                pack_done(&pack);
                return r;
        }
        pack.length += strlen("TBA1");
        *ret = pack;
        return 0;
}

void pack_done(struct pack *pack) {
        for (size_t i = 0; i < pack->n; i++) {
                free(pack->entries[i].source);
                free(pack->entries[i].name);
        }
        free(pack->entries);
        closep(&pack->top);
        *pack = (struct pack){ .top = -1 };
}

/* Gathers the archive into records and writes each as it is full. */
struct sealer {
        const struct secret *content_key;
        uint8_t header[PAYLOAD_HEADER_SIZE];
        uint64_t length, index;
        struct secret *record; /* 64 KiB of plaintext */
        size_t filled;
        EVP_MD_CTX *digest;
        int fd;
};

static int emit(struct sealer *sealer, const void *data, size_t size) {
        if (EVP_DigestUpdate(sealer->digest, data, size) != 1)
                return -EIO;
        return write_all(sealer->fd, data, size);
}

static int flush_record(struct sealer *sealer) {
        uint8_t sealed[PAYLOAD_RECORD_SIZE + AEAD_TAG_SIZE];
        bool last;
        size_t expected = payload_record_length(sealer->length, sealer->index, &last);
        int r;

        if (expected != sealer->filled)
                return -ESTALE;
        r = payload_record_seal(sealer->content_key, sealer->header, sealer->index, last, sealer->record->data, sealer->filled,
                                sealed);
        if (r < 0)
                return r;
        r = emit(sealer, sealed, sealer->filled + AEAD_TAG_SIZE);
        sealer->index++;
        sealer->filled = 0;
        return r;
}

static int put(struct sealer *sealer, const void *data, size_t size) {
        const uint8_t *bytes = data;

        while (size > 0) {
                size_t n = MIN(size, (size_t) PAYLOAD_RECORD_SIZE - sealer->filled);

                memcpy(sealer->record->data + sealer->filled, bytes, n);
                sealer->filled += n;
                bytes += n;
                size -= n;
                if (sealer->filled == PAYLOAD_RECORD_SIZE) {
                        int r = flush_record(sealer);

                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

static int put_file(struct sealer *sealer, int top, const struct pack_entry *entry) {
        _cleanup_(closep) int fd = open_below(top, entry->name, O_RDONLY | O_NONBLOCK | O_NOCTTY);
        _cleanup_(secret_freep) struct secret *chunk = NULL;
        uint64_t left = entry->size;
        struct stat st;
        int r;

        if (fd < 0)
                return log_error_errno(fd, "%s: %m", entry->source);
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return -ESTALE;
        r = secret_new(PAYLOAD_RECORD_SIZE, &chunk);
        while (r == 0) {
                ssize_t n = read(fd, chunk->data, chunk->size);

                if (n < 0)
                        return log_error_errno(errno, "%s: %m", entry->source);
                if (n == 0)
                        break;
                if ((uint64_t) n > left)
                        return -ESTALE;
                left -= (uint64_t) n;
                r = put(sealer, chunk->data, (size_t) n);
        }
        return r < 0 ? r : left > 0 ? -ESTALE : 0;
}

static int put_entry(struct sealer *sealer, int top, const struct pack_entry *entry) {
        _cleanup_(buffer_done) struct buffer head = {};
        int r;

        buffer_u8(&head, entry->directory ? 2 : 1);
        buffer_be16(&head, (uint16_t) entry->mode);
        buffer_be16(&head, (uint16_t) strlen(entry->name));
        buffer_append(&head, entry->name, strlen(entry->name));
        if (!entry->directory)
                buffer_be64(&head, entry->size);
        r = buffer_ok(&head);
        if (r == 0)
                r = put(sealer, head.data, head.size);
        if (r < 0 || entry->directory)
                return r;
        r = put_file(sealer, top, entry);
        if (r == -ESTALE)
                log_error("%s changed while it was read: run the command again.", entry->source);
        return r;
}

static int write_archive(struct sealer *sealer, const struct pack *pack) {
        int r;

        r = emit(sealer, sealer->header, sizeof sealer->header);
        if (r == 0)
                r = put(sealer, "TBA1", 4);
        for (size_t i = 0; i < pack->n && r == 0; i++)
                r = put_entry(sealer, pack->top, pack->entries + i);
        if (r == 0)
                r = put(sealer, "", 1);
        /* A full last record has been written already. */
        if (r == 0 && sealer->filled > 0)
                r = flush_record(sealer);
        return r;
}

int pack_write(const struct pack *pack, const struct payload_header *header, const struct secret *content_key, int fd,
               uint8_t ret_sha256[static 32]) {
        struct sealer sealer = { .content_key = content_key, .length = pack->length, .fd = fd, .digest = EVP_MD_CTX_new() };
        int r = -ENOMEM;

        if (sealer.digest && EVP_DigestInit_ex(sealer.digest, EVP_sha256(), NULL) == 1)
                r = secret_new(PAYLOAD_RECORD_SIZE, &sealer.record);
        if (r == 0) {
                payload_header_encode(header, sealer.header);
                r = write_archive(&sealer, pack);
        }
        if (r == 0 && EVP_DigestFinal_ex(sealer.digest, ret_sha256, NULL) != 1)
                r = -EIO;
        secret_free(sealer.record);
        EVP_MD_CTX_free(sealer.digest);
        return r;
}
