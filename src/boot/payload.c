/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/payload.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "base/encode.h"
#include "base/file.h"
#include "base/log.h"
#include "boot/notes.h"
#include "boot/pid1.h"
#include "boot/unpack.h"
#include "crypto/payload.h"

enum { PAYLOAD_TRIES = 5, PAYLOAD_PAUSE_MS = 2000, MEBIBYTE = 1024 * 1024 };

/* The file as it streams in: header, then records of 64 KiB, each opened when it is whole. The digest of all of it is compared
 * before anything becomes visible. */
struct stream {
        const struct wire_payload *payload;
        struct unlocker *unlocker;
        EVP_MD_CTX *digest;
        uint8_t header[PAYLOAD_HEADER_SIZE];
        size_t header_used;
        struct payload_header decoded;
        struct secret *content_key;
        uint64_t received, index;
        uint8_t *sealed, *plain; /* a record each; plain is wiped */
        size_t sealed_used;
        struct archive *archive;
        struct unpack *unpack;
};

static void stream_done(struct stream *stream) {
        EVP_MD_CTX_free(stream->digest);
        secret_free(stream->content_key);
        archive_free(stream->archive);
        unpack_free(stream->unpack);
        free(stream->sealed);
        if (stream->plain)
                memory_wipe(stream->plain, PAYLOAD_RECORD_SIZE);
        free(stream->plain);
}

static const struct pair *find_pair(const struct unlocker *unlocker, const struct wire_payload_key *key) {
        for (size_t i = 0; i < unlocker->pairs.n; i++) {
                const struct pair *pair = unlocker->pairs.items + i;

                if (pair->u->kind == KEY_PAYLOAD && pair->u->generation == key->generation &&
                    strcmp(pair->u->key_id, key->key_id) == 0)
                        return pair;
        }
        return NULL;
}

static int open_content_key(struct stream *stream, const struct wire_payload_key *key) {
        const struct pair *pair = find_pair(stream->unlocker, key);
        _cleanup_(secret_freep) struct secret *k_b = NULL;
        _cleanup_(keypair_freep) struct keypair *keypair = NULL;
        int r;

        if (!pair)
                return -ENOKEY;
        r = split_join(pair->u, pair->v, &k_b);
        if (r < 0)
                return r;
        r = derive_payload_keypair(k_b, stream->unlocker->node->id, key->generation, &keypair);
        if (r < 0)
                return r;
        return payload_key_open(keypair, stream->header, key->key_id, key->generation, key->enc, key->ct.data, key->ct.size,
                                &stream->content_key);
}

static int on_header(struct stream *stream) {
        const struct wire_payload *payload = stream->payload;
        int r = payload_header_decode(stream->header, &stream->decoded);

        if (r < 0)
                return r;
        if (strcmp(stream->decoded.node_id, stream->unlocker->node->id) != 0 || stream->decoded.version != payload->version ||
            payload_file_size(stream->decoded.length) != payload->size)
                return -EBADMSG;
        r = -ENOKEY;
        for (size_t i = 0; i < payload->n_keys && r < 0; i++)
                r = open_content_key(stream, payload->keys + i);
        return r;
}

static int on_record(struct stream *stream, bool last, size_t size) {
        int r = payload_record_open(stream->content_key, stream->header, stream->index, last, stream->sealed,
                                    size + AEAD_TAG_SIZE, stream->plain);

        if (r < 0)
                return r;
        r = archive_feed(stream->archive, stream->plain, size);
        stream->index++;
        stream->sealed_used = 0;
        return r;
}

static int feed_records(struct stream *stream, const uint8_t *data, size_t size) {
        while (size > 0) {
                bool last;
                size_t plain = payload_record_length(stream->decoded.length, stream->index, &last);
                size_t take = MIN(size, plain + AEAD_TAG_SIZE - stream->sealed_used);

                memcpy(stream->sealed + stream->sealed_used, data, take);
                stream->sealed_used += take;
                data += take;
                size -= take;
                if (stream->sealed_used == plain + AEAD_TAG_SIZE) {
                        int r = on_record(stream, last, plain);

                        if (r < 0)
                                return r;
                        if (last && size > 0)
                                return -EBADMSG;
                }
        }
        return 0;
}

static int on_data(const void *data, size_t size, void *userdata) {
        struct stream *stream = userdata;
        const uint8_t *bytes = data;
        size_t take = MIN(size, sizeof stream->header - stream->header_used);
        int r;

        if (size > stream->payload->size - stream->received)
                return -EFBIG;
        stream->received += size;
        if (EVP_DigestUpdate(stream->digest, data, size) <= 0)
                return -EIO;
        if (take > 0) {
                memcpy(stream->header + stream->header_used, bytes, take);
                stream->header_used += take;
                if (stream->header_used < sizeof stream->header)
                        return 0;
                r = on_header(stream);
                if (r < 0)
                        return r;
        }
        return feed_records(stream, bytes + take, size - take);
}

static int stream_start(struct stream *stream, const char *directory) {
        int r;

        stream->digest = EVP_MD_CTX_new();
        stream->sealed = malloc(PAYLOAD_RECORD_SIZE + AEAD_TAG_SIZE);
        stream->plain = calloc(1, PAYLOAD_RECORD_SIZE);
        if (!stream->digest || !stream->sealed || !stream->plain || EVP_DigestInit_ex(stream->digest, EVP_sha256(), NULL) <= 0)
                return -ENOMEM;
        r = unpack_new(directory, stream->unlocker->config->payload_size * MEBIBYTE, &stream->unpack);
        if (r < 0)
                return r;
        return archive_new(&unpack_callbacks, stream->unpack, &stream->archive);
}

static int stream_finish(struct stream *stream) {
        uint8_t digest[32];
        int r;

        if (stream->received != stream->payload->size || stream->header_used != sizeof stream->header)
                return -EBADMSG;
        r = archive_finish(stream->archive);
        if (r < 0)
                return r;
        if (EVP_DigestFinal_ex(stream->digest, digest, NULL) <= 0)
                return -EIO;
        return bytes_equal_ct(digest, stream->payload->sha256, sizeof digest) ? 0 : -EBADMSG;
}

/* The verifier names what may be used; the tenant's word alone is not enough. */
static bool is_accepted(const struct wire_details *verifier, const struct wire_payload *payload) {
        for (size_t i = 0; i < verifier->n_accept; i++)
                if (verifier->accept[i].version == payload->version &&
                    bytes_equal_ct(verifier->accept[i].sha256, payload->sha256, sizeof payload->sha256))
                        return true;
        return false;
}

bool payload_is_offered(const struct conversation *conversation) {
        const struct wire_details *tenant = &conversation->outcomes[PARTY_TENANT].details;

        return tenant->has_payload && tenant->payload.has_ticket &&
               is_accepted(&conversation->outcomes[PARTY_VERIFIER].details, &tenant->payload);
}

/* ramfs is never swapped; where the kernel can say so of tmpfs (6.4) that is used, for its limit. Ours is kept by unpack.c as
 * well. */
static int mount_memory(const char *path, uint64_t mebibytes) {
        static const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
        _cleanup_(freep) char *options = format("mode=0700,noswap,size=%lluM", (unsigned long long) mebibytes + 16);
        int r;

        if (!options)
                return -ENOMEM;
        r = mkdir_p(path, 0700);
        if (r < 0)
                return r;
        if (mount("tallyboot-payload", path, "tmpfs", flags, options) >= 0)
                return 0;
        return mount("tallyboot-payload", path, "ramfs", flags, "mode=0700") < 0 ? -errno : 0;
}

int payload_remove(const char *run_dir) {
        _cleanup_(freep) char *path = path_join(run_dir, "payload");

        if (!path)
                return -ENOMEM;
        note_remove(run_dir, "payload-ready");
        while (umount2(path, UMOUNT_NOFOLLOW) >= 0)
                ;
        if (errno == EBUSY)
                (void) umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
        return rmdir(path) < 0 && errno != ENOENT ? -errno : 0;
}

static int look_meanwhile(void *userdata) {
        return serve_meanwhile(userdata);
}

static int download(struct unlocker *unlocker, const struct wire_payload *payload, struct stream *stream, char *error,
                    size_t size) {
        _cleanup_(freep) char *ticket = base64url_encode(payload->ticket, sizeof payload->ticket), *authorization = NULL,
                              *path = NULL;
        struct http_exchange exchange = { .servers = unlocker->config->parties + PARTY_TENANT,
                                          .method = "GET",
                                          .body_fd = -1,
                                          .max_answer = payload->size,
                                          .sink = on_data,
                                          .sink_userdata = stream,
                                          .meanwhile = look_meanwhile,
                                          .meanwhile_userdata = unlocker };
        int r;

        authorization = ticket ? format("Tallyboot %s", ticket) : NULL;
        path = format("/v1/nodes/%s/payload", unlocker->node->id);
        if (!authorization || !path)
                return -ENOMEM;
        exchange.path = path;
        exchange.authorization = authorization;
        r = http_client_perform(unlocker->node->http, &exchange, 1, unlocker->node->cancel_fd);
        if (r >= 0)
                r = exchange.result;
        if (r >= 0 && exchange.status != 200) {
                struct outcome outcome = {};

                outcome_from_answer(PARTY_TENANT, exchange.status, &exchange.answer, exchange.retry_after,
                                    unlocker->node->incident, &outcome);
                snprintf(error, size, "%s", outcome.error);
                r = outcome.result;
        } else if (r < 0)
                snprintf(error, size, "tenant: %s", exchange.error[0] ? exchange.error : strerror(-r));
        http_exchange_done(&exchange);
        return r;
}

static int fetch_once(struct unlocker *unlocker, const struct wire_payload *payload, const char *directory, char *error,
                      size_t size) {
        _cleanup_(stream_done) struct stream stream = { .payload = payload, .unlocker = unlocker };
        int r;

        error[0] = '\0';
        r = mount_memory(directory, unlocker->config->payload_size);
        if (r < 0)
                return r;
        r = stream_start(&stream, directory);
        if (r < 0)
                return r;
        r = download(unlocker, payload, &stream, error, size);
        if (r >= 0)
                r = stream_finish(&stream);
        if (r >= 0)
                r = unpack_reveal(stream.unpack);
        if (r < 0 && !error[0])
                snprintf(error, size, "the payload is not what tenant and verifier announced: %s", strerror(-r));
        return r;
}

static int make_ready(struct unlocker *unlocker, const char *directory) {
        _cleanup_(pid1_freep) struct pid1 *pid1 = NULL;
        int r;

        if (mount(NULL, directory, NULL, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
                return -errno;
        r = note_write(unlocker->run_dir, "payload-ready", "");
        if (r < 0)
                return r;
        if (pid1_open(&pid1) >= 0)
                (void) pid1_start(pid1, "tallyboot-payload.target");
        return 0;
}

int payload_fetch(struct unlocker *unlocker) {
        const struct wire_details *tenant = &unlocker->conversation->outcomes[PARTY_TENANT].details;
        const struct wire_details *verifier = &unlocker->conversation->outcomes[PARTY_VERIFIER].details;
        _cleanup_(freep) char *directory = path_join(unlocker->run_dir, "payload");
        char error[400] = "";
        int r = 0;

        if (!directory)
                return -ENOMEM;
        if (!tenant->has_payload || !tenant->payload.has_ticket) {
                if (unlocker->config->payload)
                        unlocker_say(unlocker, "the tenant has no payload for this node yet: tallyctl payload set");
                return unlocker->config->payload ? -ENOENT : 0;
        }
        if (!is_accepted(verifier, &tenant->payload)) {
                unlocker_say(unlocker, "the verifier does not know version %llu of the payload: tallyctl payload set tells both",
                             (unsigned long long) tenant->payload.version);
                return -EKEYREJECTED;
        }
        for (unsigned i = 0; i < PAYLOAD_TRIES; i++) {
                r = i > 0 ? serve_sleep(unlocker, PAYLOAD_PAUSE_MS) : 0;
                if (r < 0)
                        return r; /* what was asked for by then is wiped */
                r = fetch_once(unlocker, &tenant->payload, directory, error, sizeof error);
                if (r >= 0)
                        r = make_ready(unlocker, directory);
                if (r >= 0) {
                        unlocker->payload_open = true;
                        return 0;
                }
                (void) payload_remove(unlocker->run_dir);
                if (r == -ECANCELED)
                        return r; /* wiped, and payload with it */
                if (r != -ENOLINK && r != -ETIMEDOUT && r != -EAGAIN)
                        break;
        }
        unlocker_say(unlocker, "no payload: %s", error[0] ? error : strerror(-r));
        return r;
}
