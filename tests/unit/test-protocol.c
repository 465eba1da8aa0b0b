/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/vectors/protocol.json, which another implementation made: every construction of docs/protocol.md. */
#include "pkcs11/wrap-internal.h"

#include "test.h"

#include <jansson.h>

#include "audit/chain.h"
#include "audit/head.h"
#include "base/encode.h"
#include "crypto/internal.h"
#include "crypto/offline.h"
#include "crypto/payload.h"
#include "crypto/split.h"
#include "service/nonce.h"
#include "wire/wire.h"

static json_t *vectors;

static int set_up(void **state) {
        vectors = json_load_file("tests/vectors/protocol.json", 0, NULL);
        return vectors ? 0 : -1;
}

static int tear_down(void **state) {
        json_decref(vectors);
        return 0;
}

static const char *text_of(const char *section, const char *name) {
        const char *text = json_string_value(json_object_get(json_object_get(vectors, section), name));

        assert_non_null(text);
        return text;
}

static uint64_t number_of(const char *section, const char *name) {
        const json_t *number = json_object_get(json_object_get(vectors, section), name);

        assert_true(json_is_integer(number));
        return (uint64_t) json_integer_value(number);
}

/* A secret, so that every kind of input can be made of it. */
static struct secret *bytes_of(const char *section, const char *name) {
        const char *text = text_of(section, name);
        struct secret *bytes;

        assert_int_equal(secret_new(MAX(strlen(text) / 2, (size_t) 1), &bytes), 0);
        bytes->size = strlen(text) / 2;
        assert_int_equal(hex_decode(text, bytes->data, bytes->size), 0);
        return bytes;
}

static void equals(const void *data, size_t size, const char *section, const char *name) {
        _cleanup_(freep) char *text = hex_encode(data, size);

        assert_string_equal(text, text_of(section, name));
}

#define BYTES(variable, section, name) _cleanup_(secret_freep) struct secret *variable = bytes_of(section, name)

static const char *node_id(void) {
        return text_of("names", "node_id");
}

static struct keypair *keypair_of(const char *section, const char *scalar, const char *public) {
        struct keypair *keypair = calloc(1, sizeof(*keypair));

        assert_non_null(keypair);
        keypair->scalar = bytes_of(section, scalar);
        assert_int_equal(hex_decode(text_of(section, public), keypair->public, POINT_SIZE), 0);
        return keypair;
}

static void names(void **state) {
        BYTES(name_digest, "names", "name_digest");
        BYTES(ek_digest, "names", "ek_digest");
        char id[NODE_ID_LENGTH + 1], code[CODE_LENGTH + 1];

        assert_int_equal(node_id_from_digest(name_digest->data, id), 0);
        assert_string_equal(id, node_id());
        assert_int_equal(node_code(ek_digest->data, id, code), 0);
        assert_string_equal(code, text_of("names", "code"));
}

static void fields(void **state) {
        BYTES(key, "fields", "hmac_key");
        _cleanup_(blob_done) struct blob list = {};
        uint8_t digest[32];

        assert_int_equal(
                fields_encode(FIELDS(field_text("tallyboot"), field_bytes(NULL, 0), field_number(258), field_bytes("\0\xff", 2)),
                              &list),
                0);
        equals(list.data, list.size, "fields", "list");
        assert_int_equal(
                fields_sha256(FIELDS(field_text("tallyboot"), field_text(""), field_number(258), field_bytes("\0\xff", 2)),
                              digest),
                0);
        equals(digest, 32, "fields", "sha256");
        assert_int_equal(fields_hmac(key->data, key->size,
                                     FIELDS(field_text("tallyboot"), field_text(""), field_number(258), field_bytes("\0\xff", 2)),
                                     digest),
                         0);
        equals(digest, 32, "fields", "hmac");
}

static void join_tokens(void **state) {
        uint8_t join[32];

        assert_int_equal(join_token_for_party(text_of("join", "token"), PARTY_TENANT, join), 0);
        equals(join, 32, "join", "tenant");
        assert_int_equal(join_token_for_party(text_of("join", "token"), PARTY_VERIFIER, join), 0);
        equals(join, 32, "join", "verifier");
}

static void derivations(void **state) {
        uint32_t generation = (uint32_t) number_of("derived", "generation");
        BYTES(u, "derived", "u");
        BYTES(v, "derived", "v");
        BYTES(manifest, "derived", "manifest");
        _cleanup_(secret_freep) struct secret *k_b = NULL, *volume = NULL, *manifest_key = NULL;
        _cleanup_(keypair_freep) struct keypair *payload = NULL;
        uint8_t mac[32];

        assert_int_equal(split_other(u, v, &k_b), 0);
        equals(k_b->data, k_b->size, "derived", "k_b");
        assert_int_equal(derive_volume_key(k_b, node_id(), generation, text_of("derived", "luks_uuid"), &volume), 0);
        equals(volume->data, volume->size, "derived", "volume_key");
        assert_int_equal(derive_payload_keypair(k_b, node_id(), generation, &payload), 0);
        equals(payload->scalar->data, 32, "derived", "payload_scalar");
        equals(payload->public, POINT_SIZE, "derived", "payload_public");
        assert_int_equal(derive_manifest_key(k_b, node_id(), generation, &manifest_key), 0);
        equals(manifest_key->data, 32, "derived", "manifest_key");
        assert_int_equal(manifest_mac(manifest_key, manifest->data, manifest->size, mac), 0);
        equals(mac, 32, "derived", "manifest_mac");
}

static void halves_plain(void **state) {
        const json_t *items = json_object_get(json_object_get(vectors, "halves"), "items");
        BYTES(plain, "halves", "plain");
        _cleanup_(halves_freep) struct halves *halves = NULL;
        _cleanup_(secret_freep) struct secret *again = NULL;

        assert_int_equal(halves_decode(plain, &halves), 0);
        assert_int_equal(halves->n, json_array_size(items));
        for (size_t i = 0; i < halves->n; i++) {
                const json_t *item = json_array_get(items, i);
                uint8_t half[32];

                assert_string_equal(halves->items[i].key_id, json_string_value(json_object_get(item, "key")));
                assert_int_equal(halves->items[i].kind, json_integer_value(json_object_get(item, "kind")));
                assert_int_equal(halves->items[i].state, json_integer_value(json_object_get(item, "state")));
                assert_int_equal(halves->items[i].generation, json_integer_value(json_object_get(item, "generation")));
                assert_int_equal(hex_decode(json_string_value(json_object_get(item, "half")), half, 32), 0);
                assert_memory_equal(halves->items[i].half->data, half, 32);
        }
        assert_int_equal(halves_encode(halves, &again), 0);
        assert_true(secret_equal(plain, again));
}

/* Open what the other implementation sealed; for the base mode, seal it ourselves to the same bytes. */
static void open_release(const char *section, const struct hpke_psk *psk) {
        _cleanup_(keypair_freep) struct keypair *nk = keypair_of("release", "nk_scalar", "nk_public");
        BYTES(attest, section, "attest");
        BYTES(enc, section, "enc");
        BYTES(halves, section, "halves");
        BYTES(details, section, "details");
        BYTES(plain, "halves", "plain");
        _cleanup_(secret_freep) struct secret *first = NULL, *second = NULL;
        _cleanup_(hpke_freep) struct hpke *receiver = NULL;
        _cleanup_(blob_done) struct blob info = {};
        uint8_t aad[32];

        assert_int_equal(fields_encode(FIELDS(field_text("tallyboot half v1"), field_text(text_of(section, "party")),
                                              field_text(node_id()), field_text(text_of(section, "purpose"))),
                                       &info),
                         0);
        assert_int_equal(sha256(attest->data, attest->size, aad), 0);
        assert_int_equal(hpke_receiver(nk, enc->data, info.data, info.size, psk, &receiver), 0);
        assert_int_equal(hpke_open(receiver, aad, 32, halves->data, halves->size, &first), 0);
        assert_true(secret_equal(first, plain));
        assert_int_equal(hpke_open(receiver, aad, 32, details->data, details->size, &second), 0);
        equals(second->data, second->size, section, "details_plain");

        if (!psk) {
                BYTES(ikm, section, "ephemeral_ikm");
                _cleanup_(keypair_freep) struct keypair *ephemeral = NULL;
                _cleanup_(hpke_freep) struct hpke *sender = NULL;
                _cleanup_(blob_done) struct blob sealed = {};

                assert_int_equal(keypair_derive(ikm, &ephemeral), 0);
                assert_int_equal(
                        hpke_sender_with(ephemeral, 32, nk->public, &(struct part){ info.data, info.size }, NULL, &sender), 0);
                assert_int_equal(hpke_seal(sender, aad, 32, plain->data, plain->size, &sealed), 0);
                equals(sealed.data, sealed.size, section, "halves");
        }
}

static void releases(void **state) {
        BYTES(secret, "release_enroll", "credential_secret");
        BYTES(psk_id, "release_enroll", "psk_id");
        _cleanup_(blob_done) struct blob id = {};

        open_release("release", NULL);
        assert_int_equal(
                fields_encode(FIELDS(field_text("tallyboot credential v1"), field_text("verifier"), field_text(node_id())), &id),
                0);
        equals(id.data, id.size, "release_enroll", "psk_id");
        open_release("release_enroll", &(struct hpke_psk){ secret->data, secret->size, psk_id->data, psk_id->size });
}

static void nonces_and_proofs(void **state) {
        struct nonce nonce = { .number = (uint32_t) number_of("nonce", "number"), .time = number_of("nonce", "time") };
        const struct nonce_scope scope = { PARTY_VERIFIER, node_id(), PURPOSE_BOOT };
        BYTES(mac_key, "nonce", "mac_key");
        BYTES(random, "nonce", "random");
        BYTES(attest, "nonce", "attest");
        _cleanup_(secret_freep) struct secret *secret = NULL;
        uint8_t bytes[WIRE_NONCE_SIZE], digest[32], proof[32];

        memcpy(nonce.random, random->data, sizeof(nonce.random));
        assert_int_equal(nonce_encode(mac_key, &nonce, &scope, bytes), 0);
        equals(bytes, sizeof(bytes), "nonce", "nonce");
        assert_int_equal(credential_secret(mac_key, &scope, bytes, &secret), 0);
        equals(secret->data, secret->size, "nonce", "credential_secret");
        assert_int_equal(sha256(attest->data, attest->size, digest), 0);
        assert_int_equal(credential_proof(secret, &scope, bytes, digest, proof), 0);
        equals(proof, sizeof(proof), "nonce", "proof");
}

static void tickets(void **state) {
        BYTES(mac_key, "ticket", "mac_key");
        uint8_t ticket[WIRE_TICKET_SIZE];

        assert_int_equal(ticket_encode(mac_key, (uint32_t) number_of("ticket", "number"), node_id(),
                                       number_of("ticket", "version"), number_of("ticket", "expiry"), ticket),
                         0);
        equals(ticket, sizeof(ticket), "ticket", "ticket");
}

static void quotes(void **state) {
        BYTES(nk, "quote", "nk");
        BYTES(nonce_t, "quote", "nonce_tenant");
        BYTES(nonce_v, "quote", "nonce_verifier");
        BYTES(body, "quote", "body");
        const struct blob body_blob = { body->data, body->size };
        uint8_t nonces[2][WIRE_NONCE_SIZE], data[32];

        memcpy(nonces[PARTY_TENANT], nonce_t->data, WIRE_NONCE_SIZE);
        memcpy(nonces[PARTY_VERIFIER], nonce_v->data, WIRE_NONCE_SIZE);
        assert_int_equal(wire_qualifying_data(node_id(), PURPOSE_BOOT, nk->data, nonces, NULL, data), 0);
        equals(data, 32, "quote", "boot");
        assert_int_equal(wire_qualifying_data(node_id(), PURPOSE_ENROLL, nk->data, nonces, &body_blob, data), 0);
        equals(data, 32, "quote", "enroll");
        assert_int_equal(wire_qualifying_data(node_id(), PURPOSE_CONFIRM, NULL, nonces, &body_blob, data), 0);
        equals(data, 32, "quote", "confirm");
}

static void payload_short(void **state) {
        struct payload_header header = { .version = number_of("payload", "version"), .length = number_of("payload", "length") };
        BYTES(content_key, "payload", "content_key");
        BYTES(archive, "archive", "archive");
        uint8_t file[512];

        memcpy(header.node_id, node_id(), NODE_ID_LENGTH);
        payload_header_encode(&header, file);
        equals(file, PAYLOAD_HEADER_SIZE, "payload", "header");
        assert_int_equal(
                payload_record_seal(content_key, file, 0, true, archive->data, archive->size, file + PAYLOAD_HEADER_SIZE), 0);
        equals(file, payload_file_size(archive->size), "payload", "file");
}

static void payload_long(void **state) {
        uint64_t length = number_of("payload_long", "length");
        _cleanup_(freep) uint8_t *plain = malloc(length), *file = malloc(payload_file_size(length));
        BYTES(content_key, "payload_long", "content_key");
        BYTES(header, "payload_long", "header");
        uint8_t *at = file + PAYLOAD_HEADER_SIZE, digest[32];
        bool last = false;

        for (uint64_t i = 0; i < length; i++)
                plain[i] = (uint8_t) i;
        memcpy(file, header->data, PAYLOAD_HEADER_SIZE);
        for (uint64_t index = 0; !last; index++) {
                size_t n = payload_record_length(length, index, &last);

                assert_int_equal(
                        payload_record_seal(content_key, header->data, index, last, plain + index * PAYLOAD_RECORD_SIZE, n, at),
                        0);
                at += n + AEAD_TAG_SIZE;
        }
        assert_int_equal(sha256(file, payload_file_size(length), digest), 0);
        equals(digest, 32, "payload_long", "file_sha256");
}

static void payload_keys_and_deals(void **state) {
        _cleanup_(keypair_freep) struct keypair *payload = keypair_of("derived", "payload_scalar", "payload_public");
        _cleanup_(keypair_freep) struct keypair *inbox = keypair_of("deal", "inbox_scalar", "inbox_public");
        _cleanup_(secret_freep) struct secret *key = NULL, *half = NULL;
        BYTES(header, "payload", "header");
        BYTES(key_enc, "payload_key", "enc");
        BYTES(key_ct, "payload_key", "ct");
        BYTES(deal_enc, "deal", "enc");
        BYTES(deal_ct, "deal", "ct");

        assert_int_equal(payload_key_open(payload, header->data, text_of("payload_key", "key"),
                                          (uint32_t) number_of("payload_key", "generation"), key_enc->data, key_ct->data,
                                          key_ct->size, &key),
                         0);
        equals(key->data, key->size, "payload", "content_key");
        assert_int_equal(deal_open(inbox, node_id(), text_of("deal", "key"), (uint32_t) number_of("deal", "generation"),
                                   deal_enc->data, deal_ct->data, deal_ct->size, &half),
                         0);
        equals(half->data, half->size, "deal", "half");
}

static void offline(void **state) {
        const struct offline_binding binding = { node_id(), text_of("payload_key", "key"), text_of("derived", "luks_uuid"),
                                                 (uint32_t) number_of("derived", "generation") };
        _cleanup_(secret_freep) struct secret *k_b = NULL;
        _cleanup_(blob_done) struct blob manifest = {}, message = {}, list = {};
        struct field group[OFFLINE_GROUP_FIELDS];
        BYTES(group_key, "offline", "group_key");
        BYTES(sealed, "offline", "sealed");
        BYTES(wrapped, "offline", "wrapped");
        uint8_t mac[32];

        assert_int_equal(offline_open(group_key, &binding, sealed->data, sealed->size, &k_b, &manifest, mac), 0);
        equals(k_b->data, k_b->size, "derived", "k_b");
        equals(manifest.data, manifest.size, "derived", "manifest");
        equals(mac, sizeof(mac), "derived", "manifest_mac");
        assert_int_equal(offline_message(&binding, text_of("offline", "mechanism"),
                                         &(struct blob){ wrapped->data, wrapped->size },
                                         &(struct blob){ sealed->data, sealed->size }, &message),
                         0);
        equals(message.data, message.size, "offline", "message");
        offline_group_fields(&binding, group);
        assert_int_equal(fields_encode(group, ELEMENTSOF(group), &list), 0);
        equals(list.data, list.size, "offline", "group_binding");
}

static void log_tickets(void **state) {
        BYTES(mac_key, "log_ticket", "mac_key");
        BYTES(attest, "log_ticket", "attest");
        struct nonce_scope scope = { .node_id = node_id() };
        uint8_t ticket[WIRE_LOG_TICKET_SIZE], digest[32];

        assert_int_equal(party_from_string(text_of("log_ticket", "party"), &scope.party), 0);
        assert_int_equal(sha256(attest->data, attest->size, digest), 0);
        assert_int_equal(log_ticket_encode(mac_key, (uint32_t) number_of("log_ticket", "number"), &scope, digest,
                                           number_of("log_ticket", "expiry"), ticket),
                         0);
        equals(ticket, sizeof(ticket), "log_ticket", "ticket");
}

static struct audit_entry entry_of(const json_t *record) {
        struct audit_entry entry = { .seq = json_integer_value(json_object_get(record, "seq")),
                                     .time = json_integer_value(json_object_get(record, "time")) };

        entry.record.event = json_string_value(json_object_get(record, "event"));
        entry.record.node = json_string_value(json_object_get(record, "node"));
        entry.record.incident = json_string_value(json_object_get(record, "incident"));
        entry.record.who = json_string_value(json_object_get(record, "who"));
        entry.record.detail = json_string_value(json_object_get(record, "detail"));
        return entry;
}

static void audit_records(void **state) {
        const json_t *records = json_object_get(json_object_get(vectors, "audit"), "records"), *record;
        uint8_t hash[32] = {};
        size_t i;

        assert_int_equal(json_array_size(records), 2);
        json_array_foreach (records, i, record) {
                const struct audit_entry entry = entry_of(record);
                _cleanup_(freep) char *text = NULL;

                assert_int_equal(audit_hash(hash, &entry, hash), 0);
                text = hex_encode(hash, sizeof(hash));
                assert_string_equal(text, json_string_value(json_object_get(record, "hash")));
        }
}

/* The signature is over the message that the other implementation made. */
static void audit_heads(void **state) {
        const json_t *head = json_object_get(json_object_get(vectors, "audit"), "head");
        _cleanup_(keypair_freep) struct keypair *key = keypair_of("deal", "inbox_scalar", "inbox_public");
        struct audit_head made = { .seq = json_integer_value(json_object_get(head, "seq")),
                                   .from_seq = json_integer_value(json_object_get(head, "from_seq")),
                                   .time = json_integer_value(json_object_get(head, "time")) };
        BYTES(message, "audit", "message");

        strcpy(made.role, json_string_value(json_object_get(head, "role")));
        assert_int_equal(hex_decode(json_string_value(json_object_get(head, "public")), made.public, POINT_SIZE), 0);
        assert_int_equal(hex_decode(json_string_value(json_object_get(head, "hash")), made.hash, 32), 0);
        assert_int_equal(hex_decode(json_string_value(json_object_get(head, "from_hash")), made.from_hash, 32), 0);
        assert_int_equal(keypair_sign(key, message->data, message->size, made.signature, &made.signature_size), 0);
        assert_int_equal(audit_head_verify(&made), 0);
        made.time++;
        assert_int_equal(audit_head_verify(&made), -EKEYREJECTED);
}

static void wrapped_keys(void **state) {
        const json_t *binding = json_object_get(json_object_get(vectors, "wrap"), "binding");
        const struct field fields[] = { field_text(json_string_value(json_array_get(binding, 0))),
                                        field_text(json_string_value(json_array_get(binding, 1))) };
        struct wrap_task task = { .binding = fields, .n = 2 };
        BYTES(wrapped, "wrap", "wrapped");
        BYTES(key, "wrap", "key");

        assert_int_equal(json_array_size(binding), 2);
        assert_int_equal(wrap_parse(wrapped->data, wrapped->size, &task.blob), 0);
        assert_string_equal(wrap_mechanism_to_string(task.blob.info.mechanism), text_of("wrap", "mechanism"));
        assert_int_equal(task.blob.info.generation, number_of("wrap", "generation"));
        assert_int_equal(wrap_confirm_check(&task, key), 0);
        task.n = 1;
        assert_int_equal(wrap_confirm_check(&task, key), -EKEYREJECTED);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(names),
                cmocka_unit_test(fields),
                cmocka_unit_test(join_tokens),
                cmocka_unit_test(derivations),
                cmocka_unit_test(halves_plain),
                cmocka_unit_test(releases),
                cmocka_unit_test(nonces_and_proofs),
                cmocka_unit_test(tickets),
                cmocka_unit_test(quotes),
                cmocka_unit_test(payload_short),
                cmocka_unit_test(payload_long),
                cmocka_unit_test(payload_keys_and_deals),
                cmocka_unit_test(offline),
                cmocka_unit_test(log_tickets),
                cmocka_unit_test(audit_records),
                cmocka_unit_test(audit_heads),
                cmocka_unit_test(wrapped_keys),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
