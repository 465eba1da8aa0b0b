/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Nonces, credentials and tickets against the vectors; a nonce works for one party, node, purpose, once, for a while. */
#include <stdio.h>

#include "test.h"

#include "base/encode.h"
#include "base/file.h"
#include "service/nonce.h"
#include "service/party.h"

static json_t *vectors;
static struct secret *key;
static struct nonce_scope scope;
static uint8_t nonce[WIRE_NONCE_SIZE];
static uint64_t made;

static const char *text_of(const char *group, const char *name) {
        const char *text = json_string_value(json_object_get(json_object_get(vectors, group), name));

        assert_non_null(text);
        return text;
}

static uint64_t number_of(const char *group, const char *name) {
        const json_t *number = json_object_get(json_object_get(vectors, group), name);

        assert_true(json_is_integer(number));
        return (uint64_t) json_integer_value(number);
}

static void bytes_of(const char *group, const char *name, void *ret, size_t size) {
        assert_int_equal(hex_decode(text_of(group, name), ret, size), 0);
}

static int setup(void **state) {
        uint8_t bytes[32];

        vectors = json_load_file("tests/vectors/protocol.json", 0, NULL);
        if (!vectors)
                return -1;

        bytes_of("nonce", "mac_key", bytes, 32);
        assert_int_equal(secret_copy(bytes, 32, &key), 0);
        bytes_of("nonce", "nonce", nonce, sizeof(nonce));
        made = number_of("nonce", "time");
        scope.node_id = text_of("names", "node_id");
        assert_int_equal(party_from_string(text_of("nonce", "party"), &scope.party), 0);
        assert_int_equal(purpose_from_string(text_of("nonce", "purpose"), &scope.purpose), 0);
        return 0;
}

static int teardown(void **state) {
        key = secret_free(key);
        json_decref(vectors);
        return 0;
}

static void nonce_is_the_vector(void **state) {
        struct nonce parts = { .number = (uint32_t) number_of("nonce", "number"), .time = made }, again;
        uint8_t encoded[WIRE_NONCE_SIZE];

        bytes_of("nonce", "random", parts.random, sizeof(parts.random));
        assert_int_equal(nonce_encode(key, &parts, &scope, encoded), 0);
        assert_memory_equal(encoded, nonce, sizeof(nonce));

        nonce_decode(nonce, &again);
        assert_int_equal(again.number, parts.number);
        assert_int_equal(again.time, parts.time);
        assert_memory_equal(again.random, parts.random, sizeof(parts.random));
}

static void nonce_lives_for_a_while(void **state) {
        assert_int_equal(nonce_verify(key, nonce, &scope, made, 120000), 0);
        assert_int_equal(nonce_verify(key, nonce, &scope, made + 120000, 120000), 0);
        assert_int_equal(nonce_verify(key, nonce, &scope, made + 120001, 120000), -ESTALE);
        assert_int_equal(nonce_verify(key, nonce, &scope, made - NONCE_EARLY_MS, 120000), 0);
        assert_int_equal(nonce_verify(key, nonce, &scope, made - NONCE_EARLY_MS - 1, 120000), -ESTALE);
        assert_int_equal(nonce_verify(key, nonce, &scope, 0, 120000), -ESTALE);
        assert_int_equal(nonce_verify(key, nonce, &scope, UINT64_MAX, 120000), -ESTALE);
}

static void nonce_is_for_one_party_node_purpose(void **state) {
        struct nonce_scope other = scope;
        char id[NODE_ID_LENGTH + 1];

        other.party = PARTY_TENANT;
        assert_int_equal(nonce_verify(key, nonce, &other, made, 120000), -EKEYREJECTED);

        other = scope;
        for (enum purpose purpose = PURPOSE_BOOT; purpose <= PURPOSE_CONFIRM; purpose++) {
                other.purpose = purpose;
                assert_int_equal(nonce_verify(key, nonce, &other, made, 120000), purpose == scope.purpose ? 0 : -EKEYREJECTED);
        }

        other = scope;
        snprintf(id, sizeof(id), "%s", scope.node_id);
        id[0] = id[0] == 'a' ? 'b' : 'a';
        other.node_id = id;
        assert_int_equal(nonce_verify(key, nonce, &other, made, 120000), -EKEYREJECTED);
}

static void no_bit_of_a_nonce_can_change(void **state) {
        for (size_t bit = 0; bit < 8 * sizeof(nonce); bit++) {
                uint8_t changed[WIRE_NONCE_SIZE];

                memcpy(changed, nonce, sizeof(nonce));
                changed[bit / 8] ^= (uint8_t) (1 << bit % 8);
                assert_int_equal(nonce_verify(key, changed, &scope, made, UINT64_MAX), -EKEYREJECTED);
        }
}

static void credential_is_the_vector(void **state) {
        struct secret *secret = NULL;
        uint8_t expected[32], proof[32], attest[64], digest[32];
        size_t size = strlen(text_of("nonce", "attest")) / 2;

        bytes_of("nonce", "credential_secret", expected, 32);
        assert_int_equal(credential_secret(key, &scope, nonce, &secret), 0);
        assert_int_equal(secret->size, 32);
        assert_memory_equal(secret->data, expected, 32);

        assert_true(size <= sizeof(attest));
        bytes_of("nonce", "attest", attest, size);
        assert_int_equal(sha256(attest, size, digest), 0);
        bytes_of("nonce", "proof", expected, 32);
        assert_int_equal(credential_proof(secret, &scope, nonce, digest, proof), 0);
        assert_memory_equal(proof, expected, 32);
        secret_free(secret);
}

static void ticket_is_the_vector(void **state) {
        uint64_t version = number_of("ticket", "version"), expiry = number_of("ticket", "expiry"), found = 0;
        uint8_t expected[WIRE_TICKET_SIZE], ticket[WIRE_TICKET_SIZE];
        struct secret *mac = NULL;
        uint8_t bytes[32];

        bytes_of("ticket", "mac_key", bytes, 32);
        assert_int_equal(secret_copy(bytes, 32, &mac), 0);
        bytes_of("ticket", "ticket", expected, sizeof(expected));
        assert_int_equal(ticket_encode(mac, (uint32_t) number_of("ticket", "number"), scope.node_id, version, expiry, ticket), 0);
        assert_memory_equal(ticket, expected, sizeof(ticket));

        assert_int_equal(ticket_verify(mac, ticket, scope.node_id, expiry, &found), 0);
        assert_int_equal(found, version);
        assert_int_equal(ticket_verify(mac, ticket, scope.node_id, expiry + 1, &found), -ESTALE);
        for (size_t i = 0; i < sizeof(ticket); i++) {
                ticket[i] ^= 0x10;
                if (i >= 4) /* the number only says which key */
                        assert_int_equal(ticket_verify(mac, ticket, scope.node_id, 0, &found), -EKEYREJECTED);
                ticket[i] ^= 0x10;
        }
        secret_free(mac);
}

/* With a real store and keystore: once, also behind a restart and beside another process. */

static char directory[] = "/tmp/test-service-nonce-XXXXXX";

struct use {
        const uint8_t *nonce;
        uint64_t now;
};

static int use(struct store_txn *txn, void *userdata) {
        struct use *what = userdata;

        return nonce_use(txn, what->nonce, 120000, what->now);
}

static void open_store(const char *path, const char *master, struct store **store, struct keystore **keystore) {
        const struct store_migration migrations[] = { { 1, "CREATE TABLE first (id BIGINT)" },
                                                      keystore_migration,
                                                      { 3, party_migration },
                                                      { 4, keystore_migration_generations } };
        char error[256] = "";

        if (store_open(path, "tenant", migrations, 4, store, error, sizeof(error)) < 0 ||
            keystore_open(
                    &(struct keystore_options){
                            .master = { .kind = KEYSTORE_FILE, .text = (char *) master, .path = (char *) master } },
                    *store, "tenant", keystore, error, sizeof(error)) < 0)
                fail_msg("%s", error);
}

static void nonce_works_once(void **state) {
        _cleanup_(freep) char *path = NULL, *master = NULL;
        struct keystore *keystore = NULL, *replica_keystore = NULL;
        struct store *store = NULL, *replica = NULL;
        uint8_t fresh[WIRE_NONCE_SIZE];
        struct use what = { fresh, made };

        assert_non_null(mkdtemp(directory));
        path = path_join(directory, "database");
        master = path_join(directory, "master");
        assert_int_equal(keystore_create_master(master), 0);
        open_store(path, master, &store, &keystore);
        open_store(path, master, &replica, &replica_keystore);

        /* made by one process, good at the other */
        assert_int_equal(nonce_new(keystore, &scope, made, fresh), 0);
        assert_int_equal(nonce_check(replica_keystore, fresh, &scope, made + 1000, 120000), 0);
        assert_int_equal(nonce_check(keystore, nonce, &scope, made, 120000), -EKEYREJECTED);

        assert_int_equal(store_write(store, use, &what), 0);
        assert_int_equal(store_write(store, use, &what), -EEXIST);
        assert_int_equal(store_write(replica, use, &what), -EEXIST);

        keystore_close(keystore);
        store_close(store);
        open_store(path, master, &store, &keystore);
        assert_int_equal(nonce_check(keystore, fresh, &scope, made + 1000, 120000), 0);
        assert_int_equal(store_write(store, use, &what), -EEXIST);

        /* as long as it or the logs after it are taken, and an hour more: a clock can go back */
        what.now = made + 2 * 120000 + LOG_UPLOAD_MS + 3600 * 1000;
        assert_int_equal(store_write(store, use, &what), -EEXIST);
        what.now++;
        assert_int_equal(store_write(store, use, &what), 0);

        keystore_close(keystore);
        keystore_close(replica_keystore);
        store_close(store);
        store_close(replica);
        for (const char *const *name = (const char *const[]){ "database", "database-wal", "database-shm", "master", NULL }; *name;
             name++) {
                _cleanup_(freep) char *file = path_join(directory, *name);

                (void) unlink(file);
        }
        assert_int_equal(rmdir(directory), 0);
}

static void log_tickets(void **state) {
        const struct nonce_scope other_node = { .party = scope.party,
                                                .node_id = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" },
                                 other_party = { .party = scope.party == PARTY_TENANT ? PARTY_VERIFIER : PARTY_TENANT,
                                                 .node_id = scope.node_id };
        uint8_t ticket[WIRE_LOG_TICKET_SIZE], digest[32], got[32];

        memset(digest, 7, sizeof(digest));
        assert_int_equal(log_ticket_encode(key, 3, &scope, digest, 5000, ticket), 0);
        assert_int_equal(log_ticket_verify(key, ticket, &scope, 5000, 0, got), 0);
        assert_memory_equal(got, digest, sizeof(digest));
        assert_int_equal(log_ticket_verify(key, ticket, &scope, 5001, 0, got), -ESTALE);
        assert_int_equal(log_ticket_verify(key, ticket, &scope, 5100, 100, got), 0);
        assert_int_equal(log_ticket_verify(key, ticket, &scope, 5101, 100, got), -ESTALE);
        assert_int_equal(log_ticket_verify(key, ticket, &other_node, 0, 0, got), -EKEYREJECTED);
        assert_int_equal(log_ticket_verify(key, ticket, &other_party, 0, 0, got), -EKEYREJECTED);
        for (size_t i = 0; i < sizeof(ticket); i++) {
                ticket[i] ^= 1;
                assert_int_equal(log_ticket_verify(key, ticket, &scope, 0, 0, got), -EKEYREJECTED);
                ticket[i] ^= 1;
        }
        assert_int_equal(log_ticket_verify(key, ticket, &scope, 0, 0, got), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(nonce_is_the_vector),
                cmocka_unit_test(nonce_lives_for_a_while),
                cmocka_unit_test(nonce_is_for_one_party_node_purpose),
                cmocka_unit_test(no_bit_of_a_nonce_can_change),
                cmocka_unit_test(credential_is_the_vector),
                cmocka_unit_test(ticket_is_the_vector),
                cmocka_unit_test(nonce_works_once),
                cmocka_unit_test(log_tickets),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
