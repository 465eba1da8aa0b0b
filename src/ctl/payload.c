/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/encode.h"
#include "ctl/ctl.h"
#include "ctl/group.h"
#include "ctl/pack.h"
#include "wire/wire.h"

enum { PAYLOAD_KEYS_MAX = 8 };

struct recipient { /* a live generation of a payload key */
        char key_id[KEY_ID_LENGTH + 1];
        uint32_t generation;
        uint8_t public[POINT_SIZE];
};

struct upload {
        char node[NODE_ID_LENGTH + 1];
        struct recipient recipients[PAYLOAD_KEYS_MAX];
        size_t n_recipients;
        uint64_t version, size;
        uint8_t sha256[32];
        int fd; /* the encrypted file, unlinked */
};

static const json_t *find_in(const json_t *list, const char *name, const json_t *wanted) {
        size_t i;
        json_t *item;

        json_array_foreach (list, i, item)
                if (json_equal(json_object_get(item, name), wanted))
                        return item;
        return NULL;
}

static bool is_live(const json_t *generation) {
        return strcmp(ctl_string(generation, "state"), "live") == 0;
}

/* What has the public half: a rotation gives each generation one of its own. */
static const json_t *holder_of(const json_t *key, const json_t *generation) {
        return json_object_get(generation, "public") ? generation : key;
}

static bool is_same(const json_t *one, const json_t *other, const char *name) {
        return json_equal(json_object_get(one, name), json_object_get(other, name)) != 0;
}

/* A joint key is the node's own: it told its public half to both parties, and one of them alone puts no other in its place. Of a
 * dealt key the tenant alone knows it. */
static int take_generation(struct upload *upload, const json_t *key, const json_t *generation, const json_t *verifiers) {
        const json_t *there =
                find_in(json_object_get(verifiers, "generations"), "generation", json_object_get(generation, "generation"));
        const json_t *holder = holder_of(key, generation);
        struct recipient recipient = { .generation = (uint32_t) ctl_integer(generation, "generation") };
        bool dealt = strcmp(ctl_string(verifiers, "origin"), "dealt") == 0;

        if (upload->n_recipients == PAYLOAD_KEYS_MAX ||
            wire_get_string(key, "id", recipient.key_id, sizeof recipient.key_id) < 0 ||
            wire_get_bin_fixed(holder, "public", recipient.public, POINT_SIZE) < 0)
                return 0;
        if (!is_live(there)) {
                log_notice("Payload key %s, generation %u, is not confirmed at the verifier: it is not sealed to.",
                           recipient.key_id, recipient.generation);
                return 0;
        }
        if (!is_same(key, verifiers, "kind") || !is_same(key, verifiers, "origin") ||
            (!dealt && !is_same(holder, holder_of(verifiers, there), "public")))
                return log_error(
                               "Tenant and verifier say different things of payload key %s, generation %u: one of them lies, or was "
                               "restored from a backup. Nothing is sent. \"tallyctl --json node show\" prints both.",
                               recipient.key_id, recipient.generation),
                       -EUCLEAN;
        upload->recipients[upload->n_recipients++] = recipient;
        return 0;
}

static int take_recipients(struct upload *upload, const json_t *tenants, const json_t *verifiers) {
        size_t i, g;
        json_t *key, *generation;

        json_array_foreach (json_object_get(tenants, "keys"), i, key) {
                const json_t *there = find_in(json_object_get(verifiers, "keys"), "id", json_object_get(key, "id"));

                if (strcmp(ctl_string(key, "kind"), "payload") != 0)
                        continue;
                json_array_foreach (json_object_get(key, "generations"), g, generation)
                        if (is_live(generation) && take_generation(upload, key, generation, there) < 0)
                                return -EUCLEAN;
        }
        return 0;
}

static bool is_recipient(const struct upload *upload, const char *key_id) {
        for (size_t i = 0; i < upload->n_recipients; i++)
                if (strcmp(upload->recipients[i].key_id, key_id) == 0)
                        return true;
        return false;
}

static bool is_nodes_own(const json_t *key, const json_t *generation) {
        return strcmp(ctl_string(key, "kind"), "payload") == 0 && strcmp(ctl_string(key, "origin"), "joint") == 0 &&
               is_live(generation);
}

/* Where a party knows a key of the node's own, no other is dealt: a tenant that hides it would be asked to, and know what it
 * dealt. */
static int check_left_out(const struct upload *upload, const json_t *keys) {
        size_t i, g;
        json_t *key, *generation;

        json_array_foreach (keys, i, key)
                json_array_foreach (json_object_get(key, "generations"), g, generation)
                        if (is_nodes_own(key, generation) && !is_recipient(upload, ctl_string(key, "id")))
                                return log_error(
                                               "Payload key %s of this node is live at one party only. Nothing is sent: enroll the node "
                                               "again with --payload, and run the command again.",
                                               ctl_string(key, "id")),
                                       -EUCLEAN;
        return 0;
}

static uint64_t payload_version(const json_t *node) {
        int64_t version = ctl_integer(json_object_get(node, "payload"), "version");

        return version > 0 ? (uint64_t) version : 0;
}

static int read_node(struct ctl *ctl, struct upload *upload) {
        struct ctl_call calls[2] = { ctl_call(SERVER_TENANT, "GET", "/v1/nodes/%s", upload->node),
                                     ctl_call(SERVER_VERIFIER, "GET", "/v1/nodes/%s", upload->node) };
        int r;

        if (ctl_perform(ctl, calls, 2) < 0)
                return CTL_FAILURE;
        r = ctl_followed(calls, 2);
        if (r == CTL_OK) {
                upload->version = MAX(payload_version(calls[0].answer), payload_version(calls[1].answer)) + 1;
                if (take_recipients(upload, calls[0].answer, calls[1].answer) < 0 ||
                    check_left_out(upload, json_object_get(calls[1].answer, "keys")) < 0 ||
                    (upload->n_recipients == 0 && check_left_out(upload, json_object_get(calls[0].answer, "keys")) < 0))
                        r = CTL_REFUSED;
        }
        ctl_call_done(calls);
        ctl_call_done(calls + 1);
        return r == CTL_NOT_FOLLOWED ? CTL_REFUSED : r;
}

/* One request whose failure ends the command. ret_answer may be NULL. */
static int step(struct ctl *ctl, struct ctl_call *call, json_t **ret_answer) {
        int r;

        if (ctl_perform(ctl, call, 1) < 0)
                return CTL_FAILURE;
        r = ctl_followed(call, 1);
        if (r == CTL_OK && ret_answer)
                *ret_answer = TAKE_PTR(call->answer);
        ctl_call_done(call);
        return r;
}

/* A node without a payload key gets a dealt one: the verifier is told first that this deal is wanted. */
static int deal(struct ctl *ctl, struct upload *upload) {
        static bool said; /* once for a whole group */
        struct ctl_call allow = ctl_call(SERVER_VERIFIER, "POST", "/v1/nodes/%s/deals", upload->node);
        struct ctl_call make = ctl_call(SERVER_TENANT, "POST", "/v1/nodes/%s/deals", upload->node);
        struct recipient *recipient = upload->recipients;
        uint8_t id[KEY_ID_SIZE];
        json_t *body, *answer = NULL;
        int r;

        if (random_bytes(id, sizeof id) < 0)
                return CTL_FAILURE;
        hex_write(id, sizeof id, recipient->key_id);
        body = json_pack("{s:s}", "key", recipient->key_id);
        allow.body = make.body = body;
        r = step(ctl, &allow, NULL);
        if (r == CTL_OK)
                r = step(ctl, &make, &answer);
        if (r == CTL_OK) {
                recipient->generation = (uint32_t) ctl_integer(answer, "generation");
                upload->n_recipients = 1;
                if (wire_get_bin_fixed(answer, "public", recipient->public, POINT_SIZE) < 0) {
                        log_error("The tenant's answer to the deal has no public key.");
                        r = CTL_FAILURE;
                } else if (!said) {
                        said = true;
                        log_notice(
                                "The tenant deals a payload key: whoever has the tenant's memory at this moment could read this payload. "
                                "A node enrolled with \"--payload\" has a joint key instead.");
                }
        }
        json_decref(answer);
        json_decref(body);
        return r;
}

static int open_temporary(void) {
        const char *dir = getenv("TMPDIR");
        int fd = open(dir ? dir : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

        return fd < 0 ? log_error_errno(errno, "%s: no temporary file: %m", dir ? dir : "/tmp") : fd;
}

static int seal_to(const struct upload *upload, const struct payload_header *header, const struct secret *content_key,
                   json_t **ret) {
        uint8_t head[PAYLOAD_HEADER_SIZE], enc[POINT_SIZE];
        json_t *keys = json_array();

        payload_header_encode(header, head);
        for (size_t i = 0; i < upload->n_recipients; i++) {
                const struct recipient *to = upload->recipients + i;
                _cleanup_(blob_done) struct blob ct = {};
                json_t *entry;
                int r;

                r = payload_key_seal(to->public, head, to->key_id, to->generation, content_key, enc, &ct);
                if (r < 0) {
                        json_decref(keys);
                        return log_error_errno(r, "The payload key %s cannot be sealed to: %m", to->key_id);
                }
                entry = json_pack("{s:s, s:i}", "id", to->key_id, "generation", (int) to->generation);
                wire_set_bin(entry, "enc", enc, sizeof enc);
                wire_set_bin(entry, "ct", ct.data, ct.size);
                json_array_append_new(keys, entry);
        }
        *ret = keys;
        return 0;
}

static int encrypt(struct upload *upload, const char *path, json_t **ret_keys) {
        _cleanup_(pack_done) struct pack pack = { .top = -1 };
        _cleanup_(secret_freep) struct secret *content_key = NULL;
        struct payload_header header = { .version = upload->version };
        int r;

        r = pack_collect(path, &pack);
        if (r < 0)
                return r;
        memcpy(header.node_id, upload->node, sizeof header.node_id);
        header.length = pack.length;
        upload->fd = open_temporary();
        if (upload->fd < 0)
                return upload->fd;
        r = secret_random(AEAD_KEY_SIZE, &content_key);
        if (r < 0)
                return log_error_errno(r, "No key for the payload: %m");
        r = pack_write(&pack, &header, content_key, upload->fd, upload->sha256);
        if (r < 0)
                return log_error_errno(r, "The payload could not be encrypted: %m");
        upload->size = payload_file_size(pack.length);
        return seal_to(upload, &header, content_key, ret_keys);
}

static int tell_verifier(struct ctl *ctl, const struct upload *upload, bool final) {
        struct ctl_call call = ctl_call(SERVER_VERIFIER, "POST", "/v1/nodes/%s/payload", upload->node);
        json_t *body = json_pack("{s:I, s:b}", "version", (json_int_t) upload->version, "final", final);
        int r;

        wire_set_hex(body, "sha256", upload->sha256, sizeof upload->sha256);
        call.body = body;
        r = step(ctl, &call, NULL);
        json_decref(body);
        return r;
}

static int send_to_tenant(struct ctl *ctl, const struct upload *upload, json_t *keys) {
        struct ctl_call describe = ctl_call(SERVER_TENANT, "POST", "/v1/nodes/%s/payload", upload->node);
        struct ctl_call file =
                ctl_call(SERVER_TENANT, "PUT", "/v1/nodes/%s/payload/%llu", upload->node, (unsigned long long) upload->version);
        json_t *body = json_pack("{s:I, s:I, s:O}", "version", (json_int_t) upload->version, "size", (json_int_t) upload->size,
                                 "keys", keys);
        int r;

        wire_set_hex(body, "sha256", upload->sha256, sizeof upload->sha256);
        describe.body = body;
        r = step(ctl, &describe, NULL);
        json_decref(body);
        if (r != CTL_OK)
                return r;
        if (lseek(upload->fd, 0, SEEK_SET) < 0)
                return log_error_errno(errno, "The temporary file: %m"), CTL_FAILURE;
        file.body_fd = upload->fd;
        file.body_size = upload->size;
        return step(ctl, &file, NULL);
}

/* The verifier knows the new digest before the tenant serves the file, and forgets the old one after: a node that boots in
 * between finds a pair that fits, and a run that was cut short is mended by running it again. */
static int publish(struct ctl *ctl, const struct upload *upload, json_t *keys) {
        int r;

        r = tell_verifier(ctl, upload, false);
        if (r == CTL_OK)
                r = send_to_tenant(ctl, upload, keys);
        if (r == CTL_OK && tell_verifier(ctl, upload, true) != CTL_OK)
                r = CTL_NOT_FOLLOWED;
        if (r != CTL_OK)
                log_error(
                        "The payload is not complete at both parties. The node goes on with the one before; run the command again.");
        return r;
}

/* ret: version and size, as JSON; or a line is printed. */
static int set_one(struct ctl *ctl, const char *id, const char *path, json_t **ret) {
        struct upload upload = { .fd = -1 };
        json_t *keys = NULL;
        int r;

        memcpy(upload.node, id, sizeof upload.node);
        r = read_node(ctl, &upload);
        if (r == CTL_OK && upload.n_recipients == 0)
                r = deal(ctl, &upload);
        if (r == CTL_OK && encrypt(&upload, path, &keys) < 0)
                r = CTL_FAILURE;
        if (r == CTL_OK)
                r = publish(ctl, &upload, keys);
        if (r == CTL_OK && ctl->json)
                *ret = json_pack("{s:I, s:I}", "version", (json_int_t) upload.version, "size", (json_int_t) upload.size);
        else if (r == CTL_OK)
                ctl_print_line("%s: payload version %llu, %llu bytes, sealed to %zu key%s; the node has it at its next boot.",
                               upload.node, (unsigned long long) upload.version, (unsigned long long) upload.size,
                               upload.n_recipients, upload.n_recipients == 1 ? "" : "s");
        json_decref(keys);
        closep(&upload.fd);
        return r;
}

/* Approved and in the group by the word of both. */
static bool is_wanted(const json_t *node, const json_t *verifiers, bool missing) {
        const json_t *there = find_in(verifiers, "id", json_object_get(node, "id"));

        if (!there || strlen(ctl_string(node, "id")) != NODE_ID_LENGTH)
                return false;
        return !missing || json_is_null(json_object_get(node, "payload")) || json_is_null(json_object_get(there, "payload"));
}

/* One after the other; what fails is said, and the others go on. */
static int set_each(struct ctl *ctl, const json_t *nodes, const json_t *verifiers, const char *path, bool missing) {
        json_t *node, *all = json_object();
        size_t i, done = 0, failed = 0;
        int worst = CTL_OK;

        json_array_foreach (nodes, i, node) {
                json_t *one = NULL;
                int r;

                if (!is_wanted(node, verifiers, missing))
                        continue;
                r = set_one(ctl, ctl_string(node, "id"), path, &one);
                done += r == CTL_OK;
                failed += r != CTL_OK;
                worst = r != CTL_OK ? r : worst;
                if (one)
                        (void) json_object_set_new(all, ctl_string(node, "id"), one);
        }
        if (ctl->json)
                ctl_print_json(all);
        else
                ctl_print_line("%zu node%s given the payload, %zu not.", done, done == 1 ? "" : "s", failed);
        json_decref(all);
        return done > 0 && failed > 0 ? CTL_NOT_FOLLOWED : worst;
}

static int set_group(struct ctl *ctl, const char *group, const char *path, bool missing) {
        struct ctl_call calls[2] = { ctl_call(SERVER_TENANT, "GET", "/v1/nodes?state=approved&group=%s", group),
                                     ctl_call(SERVER_VERIFIER, "GET", "/v1/nodes?state=approved&group=%s", group) };
        int r;

        if (ctl_perform(ctl, calls, 2) < 0)
                return CTL_FAILURE;
        r = ctl_followed(calls, 2);
        if (r == CTL_OK)
                r = set_each(ctl, json_object_get(calls[0].answer, "nodes"), json_object_get(calls[1].answer, "nodes"), path,
                             missing);
        else if (r == CTL_NOT_FOLLOWED)
                r = CTL_REFUSED;
        ctl_call_done(calls);
        ctl_call_done(calls + 1);
        return r;
}

static int set_node(struct ctl *ctl, const char *name, const char *path) {
        char id[NODE_ID_LENGTH + 1];
        json_t *json = NULL;
        int r;

        r = ctl_resolve_node(ctl, name, id);
        if (r == CTL_OK)
                r = set_one(ctl, id, path, &json);
        if (json)
                ctl_print_json(json);
        json_decref(json);
        return r;
}

static int payload_set(struct ctl *ctl, int argc, char *argv[]) {
        static const struct option options[] = { { "group", required_argument, NULL, 'g' },
                                                 { "missing", no_argument, NULL, 'm' },
                                                 {} };
        const char *group = NULL, *path;
        bool missing = false, wrong = false;
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                if (c == 'g')
                        group = optarg;
                else if (c == 'm')
                        missing = true;
                else
                        wrong = true;
        if (wrong || argc - optind != (group ? 1 : 2) || (missing && !group) || (group && !group_name_is_valid(group)))
                return CTL_USAGE;
        path = argv[argc - 1];
        if (access(path, R_OK) < 0)
                return log_error_errno(errno, "%s: %m", path), CTL_FAILURE;
        return group ? set_group(ctl, group, path, missing) : set_node(ctl, argv[optind], path);
}

static const struct ctl_verb verbs[] = {
        { "set", "NODE|--group GROUP [--missing] FILE-OR-DIRECTORY", "encrypt it to the node; the tenant keeps it", payload_set,
          .more = "  --group GROUP  to each approved node of it\n"
                  "  --missing      of these, to those that have none yet\n\n"
                  "The tenant gets what it cannot read, the verifier its digest. The node unpacks it at its next boot.\n" },
};

int ctl_payload(struct ctl *ctl, int argc, char *argv[]) {
        return ctl_dispatch(ctl, "payload", verbs, ELEMENTSOF(verbs), argc, argv);
}
