/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/log.h"
#include "luks/internal.h"

/* Where the bytes come from: a device, or memory (tests, fuzzer). */
struct source {
        int fd; /* -1: memory */
        const uint8_t *data;
        size_t size;
};

struct copy {
        bool magic; /* a LUKS2 magic was there, whatever came after it */
        uint64_t hdr_size, seqid;
        uint8_t binary[LUKS_BINARY_SIZE];
        json_t *json;
};

/* Binary header, section 2.1: offsets of its fields. All numbers are big-endian. */
enum {
        AT_MAGIC = 0,
        AT_VERSION = 6,
        AT_HDR_SIZE = 8,
        AT_SEQID = 16,
        AT_CSUM_ALG = 72,
        AT_UUID = 168,
        AT_HDR_OFFSET = 256,
        AT_CSUM = 448,
        MAGIC_SIZE = 6,
        CSUM_ALG_SIZE = 32,
        CSUM_SIZE = 64,
        UUID_SIZE = 40,
};
static const uint8_t magic_first[MAGIC_SIZE] = { 'L', 'U', 'K', 'S', 0xba, 0xbe };
static const uint8_t magic_second[MAGIC_SIZE] = { 'S', 'K', 'U', 'L', 0xba, 0xbe };

/* The sizes that the format allows, and so the places where a second copy can be. */
static const uint32_t header_sizes[] = { 0x4000, 0x8000, 0x10000, 0x20000, 0x40000, 0x80000, 0x100000, 0x200000, 0x400000 };

static void copy_done(struct copy *copy) {
        json_decref(copy->json);
        copy->json = NULL;
}

static uint64_t be(const uint8_t *data, size_t size) {
        uint64_t value = 0;

        for (size_t i = 0; i < size; i++)
                value = value << 8 | data[i];
        return value;
}

/* Exactly size bytes, or -ENODATA where the source ends before. */
static int source_read(const struct source *source, uint64_t offset, size_t size, void *ret) {
        size_t done = 0;

        if (source->fd < 0) {
                if (offset > source->size || size > source->size - offset)
                        return -ENODATA;
                memcpy(ret, source->data + offset, size);
                return 0;
        }
        while (done < size) {
                ssize_t n = pread(source->fd, (uint8_t *) ret + done, size - done, (off_t) (offset + done));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        return -ENODATA;
                done += (size_t) n;
        }
        return 0;
}

static bool header_size_is_valid(uint64_t size) {
        for (size_t i = 0; i < ELEMENTSOF(header_sizes); i++)
                if (size == header_sizes[i])
                        return true;
        return false;
}

/* Section 2.1: over the binary header with the checksum's own field zero, and the JSON area. cryptsetup writes sha256 and nothing
 * else. */
static int checksum_is_right(const struct copy *copy, const uint8_t *area, size_t area_size) {
        uint8_t binary[LUKS_BINARY_SIZE], digest[EVP_MAX_MD_SIZE];
        unsigned size = 0;
        EVP_MD_CTX *ctx;
        bool ok;

        if (strncmp((const char *) copy->binary + AT_CSUM_ALG, "sha256", CSUM_ALG_SIZE) != 0)
                return -EBADMSG;
        memcpy(binary, copy->binary, sizeof(binary));
        memset(binary + AT_CSUM, 0, CSUM_SIZE);

        ctx = EVP_MD_CTX_new();
        if (!ctx)
                return -ENOMEM;
        ok = EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 && EVP_DigestUpdate(ctx, binary, sizeof(binary)) == 1 &&
             EVP_DigestUpdate(ctx, area, area_size) == 1 && EVP_DigestFinal_ex(ctx, digest, &size) == 1;
        EVP_MD_CTX_free(ctx);
        if (!ok)
                return -EIO;
        return memcmp(digest, copy->binary + AT_CSUM, SHA256_SIZE) == 0 ? 0 : -EBADMSG;
}

/* Section 3: the text, NUL, and zero bytes to the end of the area. */
static int read_json(const struct source *source, uint64_t offset, struct copy *copy) {
        _cleanup_(freep) uint8_t *area = NULL;
        size_t size = copy->hdr_size - LUKS_BINARY_SIZE, length;
        int r;

        area = malloc(size);
        if (!area)
                return -ENOMEM;
        r = source_read(source, offset + LUKS_BINARY_SIZE, size, area);
        if (r < 0)
                return r == -ENODATA ? -EBADMSG : r;
        r = checksum_is_right(copy, area, size);
        if (r < 0)
                return r;
        length = strnlen((const char *) area, size);
        if (length == size)
                return -EBADMSG;
        copy->json = luks_json_parse((const char *) area, length);
        return copy->json ? 0 : -EBADMSG;
}

/* One of the two copies. -EMEDIUMTYPE: nothing of LUKS2 there; -EBADMSG: damaged. */
static int read_copy(const struct source *source, uint64_t offset, const uint8_t magic[static MAGIC_SIZE], struct copy *ret) {
        int r;

        r = source_read(source, offset, LUKS_BINARY_SIZE, ret->binary);
        if (r < 0)
                return r == -ENODATA ? -EMEDIUMTYPE : r;
        if (memcmp(ret->binary + AT_MAGIC, magic, MAGIC_SIZE) != 0 || be(ret->binary + AT_VERSION, 2) != 2)
                return -EMEDIUMTYPE;
        ret->magic = true;
        ret->hdr_size = be(ret->binary + AT_HDR_SIZE, 8);
        ret->seqid = be(ret->binary + AT_SEQID, 8);
        if (!header_size_is_valid(ret->hdr_size) || be(ret->binary + AT_HDR_OFFSET, 8) != offset)
                return -EBADMSG;
        if (magic == magic_second && ret->hdr_size != offset)
                return -EBADMSG;
        return read_json(source, offset, ret);
}

static int read_second(const struct source *source, const struct copy *first, struct copy *ret) {
        int r = -EMEDIUMTYPE;

        if (first->json)
                return read_copy(source, first->hdr_size, magic_second, ret);
        for (size_t i = 0; i < ELEMENTSOF(header_sizes); i++) {
                r = read_copy(source, header_sizes[i], magic_second, ret);
                if (r != -EMEDIUMTYPE && r != -EBADMSG)
                        return r;
        }
        return r;
}

static bool is_luks1(const struct copy *copy) {
        return memcmp(copy->binary + AT_MAGIC, magic_first, MAGIC_SIZE) == 0 && be(copy->binary + AT_VERSION, 2) == 1;
}

/* The newer of the copies that are whole, as libcryptsetup chooses (section 2.2); the other one is never looked at again. */
static int choose(const struct source *source, struct copy *first, struct copy *second, struct copy **ret) {
        int r, q;

        r = read_copy(source, 0, magic_first, first);
        if (r < 0 && r != -EMEDIUMTYPE && r != -EBADMSG)
                return r;
        if (is_luks1(first))
                return -EMEDIUMTYPE;
        q = read_second(source, first, second);
        if (q < 0 && q != -EMEDIUMTYPE && q != -EBADMSG)
                return q;
        if (r < 0 && q < 0)
                return first->magic || second->magic ? -EBADMSG : -EMEDIUMTYPE;
        *ret = r < 0 || (q >= 0 && second->seqid > first->seqid) ? second : first;
        return 0;
}

static int read_area(const struct source *source, uint64_t hdr_size, const json_t *area, struct luks_area *ret) {
        _cleanup_(freep) uint8_t *data = NULL;
        uint64_t offset, size;
        int r;

        if (luks_json_u64(area, "offset", &offset) < 0 || luks_json_u64(area, "size", &size) < 0)
                return -EBADMSG;
        if (size == 0 || size > LUKS_AREA_MAX || offset < 2 * hdr_size || offset > 2 * hdr_size + LUKS_KEYSLOTS_SIZE_MAX)
                return -EBADMSG;
        data = malloc(size);
        if (!data)
                return -ENOMEM;
        r = source_read(source, offset, size, data);
        if (r < 0)
                return r;
        *ret = (struct luks_area){ .offset = offset, .size = size, .data = TAKE_PTR(data) };
        return 0;
}

/* All of them, for it is not known yet which one is ours: a few hundred kilobytes. One that cannot be read is missed only if it
 * is the one that the manifest names. */
static int read_areas(const struct source *source, struct luks_header *header) {
        const json_t *keyslots = json_object_get(header->json, "keyslots");

        for (int i = 0; i < LUKS_KEYSLOTS; i++) {
                const json_t *area;
                char name[12];
                int r;

                snprintf(name, sizeof(name), "%d", i);
                area = json_object_get(json_object_get(keyslots, name), "area");
                if (!area)
                        continue;
                r = read_area(source, header->hdr_size, area, header->areas + i);
                if (r == -ENOMEM)
                        return r;
                if (r < 0)
                        log_debug_errno(r, "Area of keyslot %d not read: %m", i);
        }
        return 0;
}

static int header_from_copy(struct copy *copy, struct luks_header **ret) {
        _cleanup_(luks_header_freep) struct luks_header *header = NULL;
        const char *uuid = (const char *) copy->binary + AT_UUID;

        if (strnlen(uuid, UUID_SIZE) != LUKS_UUID_LENGTH || !luks_uuid_is_valid(uuid))
                return -EBADMSG;
        header = calloc(1, sizeof(*header));
        if (!header)
                return -ENOMEM;
        header->hdr_size = copy->hdr_size;
        header->seqid = copy->seqid;
        memcpy(header->binary, copy->binary, sizeof(header->binary));
        memcpy(header->uuid, uuid, LUKS_UUID_LENGTH + 1);
        header->json = TAKE_PTR(copy->json);
        *ret = TAKE_PTR(header);
        return 0;
}

static int header_from_source(const struct source *source, bool areas, struct luks_header **ret) {
        _cleanup_(luks_header_freep) struct luks_header *header = NULL;
        _cleanup_(copy_done) struct copy first = {}, second = {};
        struct copy *chosen = NULL;
        int r;

        r = choose(source, &first, &second, &chosen);
        if (r < 0)
                return r;
        r = header_from_copy(chosen, &header);
        if (r < 0)
                return r;
        if (areas) {
                r = read_areas(source, header);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(header);
        return 0;
}

static int header_from_device(const char *device, bool areas, struct luks_header **ret) {
        _cleanup_(closep) int fd = open(device, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        struct source source = { .fd = fd };

        if (fd < 0)
                return -errno;
        return header_from_source(&source, areas, ret);
}

int luks_header_read(const char *device, struct luks_header **ret) {
        return header_from_device(device, true, ret);
}

int luks_header_probe(const char *device, struct luks_header **ret) {
        return header_from_device(device, false, ret);
}

int luks_header_parse(const void *data, size_t size, struct luks_header **ret) {
        struct source source = { .fd = -1, .data = data, .size = size };

        return header_from_source(&source, true, ret);
}

struct luks_header *luks_header_free(struct luks_header *header) {
        if (!header)
                return NULL;
        for (size_t i = 0; i < LUKS_KEYSLOTS; i++)
                free(header->areas[i].data);
        json_decref(header->json);
        free(header);
        return NULL;
}

const char *luks_header_uuid(const struct luks_header *header) {
        return header->uuid;
}

int luks_probe_tokens(const char *device, char ret_uuid[static LUKS_UUID_LENGTH + 1], struct luks_token ret[static LUKS_KEYSLOTS],
                      size_t *ret_n) {
        _cleanup_(luks_header_freep) struct luks_header *header = NULL;
        const char *name;
        json_t *json;
        size_t n = 0;
        int r;

        r = luks_header_probe(device, &header);
        if (r < 0)
                return r;
        json_object_foreach (json_object_get(header->json, "tokens"), name, json) {
                _cleanup_(freep) char *text = luks_json_canonical(json);

                if (!text)
                        return -ENOMEM;
                if (n < LUKS_KEYSLOTS && luks_token_parse(text, ret + n, NULL, 0) >= 0)
                        ret[n++].number = atoi(name);
        }
        memcpy(ret_uuid, header->uuid, LUKS_UUID_LENGTH + 1);
        *ret_n = n;
        return 0;
}

int luks_probe_token(const char *device, char ret_uuid[static LUKS_UUID_LENGTH + 1], struct luks_token *ret) {
        struct luks_token tokens[LUKS_KEYSLOTS];
        const struct luks_token *found = tokens;
        size_t n;
        int r;

        r = luks_probe_tokens(device, ret_uuid, tokens, &n);
        if (r < 0)
                return r;
        if (n == 0)
                return -ENOENT;
        for (size_t i = 1; i < n; i++)
                if (tokens[i].live)
                        found = tokens + i;
        *ret = *found;
        return 0;
}
