/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <fnmatch.h>
#include <stdio.h>

#include "base/encode.h"
#include "base/file.h"
#include "wire/wire.h"

/* Every message of tests/vectors/wire.json: there and back; and with each member, at any depth, missing, doubled, of another
 * type. */

#define ROUND(message)                                                          \
        static int round_##message(const char *text, size_t size, char **ret) { \
                _cleanup_(wire_##message##_done) struct wire_##message m = {};  \
                int r = wire_##message##_parse(text, size, &m);                 \
                                                                                \
                if (r >= 0)                                                     \
                        *ret = wire_##message##_encode(&m);                     \
                return r;                                                       \
        }
#define ROUND_PLAIN(message)                                                    \
        static int round_##message(const char *text, size_t size, char **ret) { \
                struct wire_##message m = {};                                   \
                int r = wire_##message##_parse(text, size, &m);                 \
                                                                                \
                if (r >= 0)                                                     \
                        *ret = wire_##message##_encode(&m);                     \
                return r;                                                       \
        }

ROUND(registration)
ROUND(registered)
ROUND(challenge)
ROUND(evidence)
ROUND(sealed)
ROUND(details)
ROUND(confirm_body)
ROUND_PLAIN(enroll_body)
ROUND_PLAIN(rotate_body)
ROUND_PLAIN(confirmed)
ROUND_PLAIN(problem)

static int round_challenge_request(const char *text, size_t size, char **ret) {
        enum purpose purpose;
        int r = wire_challenge_request_parse(text, size, &purpose);

        if (r >= 0)
                *ret = wire_challenge_request_encode(purpose);
        return r;
}

static int round_logs_wanted(const char *text, size_t size, char **ret) {
        struct wire_logs_wanted wanted;
        struct wire_problem problem;
        int r;

        if ((r = wire_problem_parse(text, size, &problem)) < 0 || (r = wire_logs_wanted_parse(text, size, &wanted)) < 0)
                return r;
        *ret = wire_logs_wanted_encode(&problem, &wanted);
        return 0;
}

static const struct message {
        const char *name;
        int (*round)(const char *text, size_t size, char **ret);
        const char *optional[8]; /* patterns of what may be missing, by itself */
} messages[] = {
        { "registration", round_registration, { ".challenge", ".proof" } },
        { "registered", round_registered, { ".credential" } },
        { "challenge_request", round_challenge_request, {} },
        { "challenge", round_challenge, { ".credential" } },
        { "evidence", round_evidence, { ".join", ".pcrs.sha256", ".pcrs.sha384", ".pcrs.sha256.*" } },
        { "sealed", round_sealed, {} },
        { "details", round_details, { ".rotate", ".payload", ".keys.*.manifest_sha256" } },
        { "enroll_body", round_enroll_body, {} },
        { "rotate_body", round_rotate_body, {} },
        { "confirm_body", round_confirm_body, { ".payload" } },
        { "confirmed", round_confirmed, {} },
        { "problem", round_problem, {} },
        { "logs_wanted", round_logs_wanted, {} },
};

static json_t *vectors;

static int set_up(void **state) {
        vectors = json_load_file("tests/vectors/wire.json", JSON_REJECT_DUPLICATES, NULL);
        return vectors ? 0 : -1;
}

static int tear_down(void **state) {
        json_decref(vectors);
        return 0;
}

/* What is done to one member, named by its path (".keys.0.id"), while the rest is written as it is. */
enum change { CHANGE_NONE, CHANGE_REMOVE, CHANGE_DOUBLE, CHANGE_REPLACE };
struct mutation {
        const char *path;
        enum change change;
        const char *replacement;
};

static void write_value(const json_t *json, const char *path, const struct mutation *mutation, struct buffer *out);

static void write_member(const char *name, const json_t *value, const char *path, const struct mutation *mutation,
                         struct buffer *out) {
        _cleanup_(freep) char *below = format("%s.%s", path, name);
        enum change change = strcmp(below, mutation->path) == 0 ? mutation->change : CHANGE_NONE;

        if (change == CHANGE_REMOVE)
                return;
        for (unsigned i = 0; i < (change == CHANGE_DOUBLE ? 2 : 1); i++) {
                buffer_printf(out, "%s\"%s\":", out->data[out->size - 1] == '{' ? "" : ",", name);
                if (change == CHANGE_REPLACE)
                        buffer_printf(out, "%s", mutation->replacement);
                else
                        write_value(value, below, mutation, out);
        }
}

static void write_array(const json_t *json, const char *path, const struct mutation *mutation, struct buffer *out) {
        buffer_printf(out, "[");
        for (size_t i = 0; i < json_array_size(json); i++) {
                _cleanup_(freep) char *below = format("%s.%zu", path, i);

                buffer_printf(out, "%s", i > 0 ? "," : "");
                if (mutation->change == CHANGE_REPLACE && strcmp(below, mutation->path) == 0)
                        buffer_printf(out, "%s", mutation->replacement);
                else
                        write_value(json_array_get(json, i), below, mutation, out);
        }
        buffer_printf(out, "]");
}

static void write_value(const json_t *json, const char *path, const struct mutation *mutation, struct buffer *out) {
        _cleanup_(freep) char *text = NULL;
        const char *name;
        json_t *value;

        if (json_is_array(json)) {
                write_array(json, path, mutation, out);
        } else if (json_is_object(json)) {
                buffer_printf(out, "{");
                json_object_foreach ((json_t *) json, name, value)
                        write_member(name, value, path, mutation, out);
                buffer_printf(out, "}");
        } else {
                text = json_dumps(json, JSON_ENCODE_ANY);
                buffer_printf(out, "%s", text);
        }
}

static int parse(const struct message *message, const void *text, size_t size) {
        /* a copy of just these bytes, so that a read behind them is seen by the sanitizers */
        _cleanup_(freep) char *copy = malloc(size ?: 1), *encoded = NULL;
        int r;

        memcpy(copy, text, size);
        r = message->round(copy, size, &encoded);
        assert_true(r == 0 || r == -EBADMSG);
        return r;
}

static unsigned n_mutations;

static void expect(const struct message *message, const json_t *example, const struct mutation *mutation, bool accepted) {
        _cleanup_(buffer_done) struct buffer out = {};

        write_value(example, "", mutation, &out);
        assert_int_equal(buffer_ok(&out), 0);
        n_mutations++;
        if ((parse(message, out.data, out.size) == 0) != accepted)
                fail_msg("%s, %s, change %d to %s: %s: %.*s", message->name, mutation->path, mutation->change,
                         mutation->replacement, accepted ? "refused" : "accepted", (int) out.size, out.data);
}

static bool is_optional(const struct message *message, const char *path) {
        for (size_t i = 0; i < ELEMENTSOF(message->optional) && message->optional[i]; i++)
                if (fnmatch(message->optional[i], path, 0) == 0)
                        return true;
        return false;
}

static bool same_type(const json_t *json, const char *replacement) {
        json_t *other = json_loads(replacement, JSON_DECODE_ANY, NULL);
        bool same = json_typeof(other) == json_typeof(json) || (json_is_boolean(json) && json_is_boolean(other));

        json_decref(other);
        return same;
}

static void change_type(const struct message *message, const json_t *example, const json_t *value, const char *path) {
        static const char *const others[] = { "null", "true", "7", "7.0", "\"text\"", "[]", "{}", "[1]", "{\"a\":1}" };
        static const char *const numbers[] = { "-1", "9007199254740992", "99999999999", "1.0", "1e2", "\"1\"" };

        for (size_t i = 0; i < ELEMENTSOF(others); i++)
                if (!same_type(value, others[i]))
                        expect(message, example, &(struct mutation){ path, CHANGE_REPLACE, others[i] }, false);
        /* sizes and versions may be large: any other number is bounded by 32 bits at the most */
        for (size_t i = 0; json_is_integer(value) && i < ELEMENTSOF(numbers); i++)
                if (i != 2 || (!strstr(path, "version") && !strstr(path, "size")))
                        expect(message, example, &(struct mutation){ path, CHANGE_REPLACE, numbers[i] }, false);
        if (json_is_string(value) && strcmp(path, ".title") != 0)
                expect(message, example, &(struct mutation){ path, CHANGE_REPLACE, "\"a=\\u00e4 \"" }, false);
        if (json_is_string(value))
                expect(message, example, &(struct mutation){ path, CHANGE_REPLACE, "\"a\\u0000\"" }, false);
}

static void mutate(const struct message *message, const json_t *example, const json_t *at, const char *path) {
        const char *name;
        json_t *value;

        if (json_is_array(at))
                for (size_t i = 0; i < json_array_size(at); i++) {
                        _cleanup_(freep) char *below = format("%s.%zu", path, i);

                        change_type(message, example, json_array_get(at, i), below);
                        mutate(message, example, json_array_get(at, i), below);
                }
        if (!json_is_object(at))
                return;
        json_object_foreach ((json_t *) at, name, value) {
                _cleanup_(freep) char *below = format("%s.%s", path, name);

                expect(message, example, &(struct mutation){ below, CHANGE_REMOVE, NULL }, is_optional(message, below));
                expect(message, example, &(struct mutation){ below, CHANGE_DOUBLE, NULL }, false);
                change_type(message, example, value, below);
                mutate(message, example, value, below);
        }
}

static void for_each(void (*what)(const struct message *message, const json_t *example)) {
        for (size_t i = 0; i < ELEMENTSOF(messages); i++) {
                const json_t *examples = json_object_get(vectors, messages[i].name);

                assert_true(json_array_size(examples) > 0);
                for (size_t j = 0; j < json_array_size(examples); j++)
                        what(messages + i, json_array_get(examples, j));
        }
}

static void there_and_back(const struct message *message, const json_t *example) {
        _cleanup_(freep) char *text = json_dumps(example, JSON_COMPACT), *encoded = NULL;
        json_t *again;

        if (message->round(text, strlen(text), &encoded) < 0)
                fail_msg("%s: refused: %s", message->name, text);
        assert_non_null(encoded);
        again = json_loads(encoded, JSON_REJECT_DUPLICATES, NULL);
        if (!json_equal(again, example))
                fail_msg("%s: %s became %s", message->name, text, encoded);
        json_decref(again);
}

static void round_trips(void **state) {
        for_each(there_and_back);
}

static void mutate_example(const struct message *message, const json_t *example) {
        mutate(message, example, example, "");
}

static void mutations(void **state) {
        for_each(mutate_example);
        assert_true(n_mutations > 1500);
}

static void cut_example(const struct message *message, const json_t *example) {
        _cleanup_(freep) char *text = json_dumps(example, JSON_COMPACT), *more = format("%s{}", text);
        _cleanup_(freep) char *array = format("[%s]", text);
        _cleanup_(freep) char *unknown = format("{\"unknown\":[{}],%s", text + 1);
        size_t length = strlen(text);

        for (size_t i = 0; i < length; i += 1 + length / 400)
                assert_int_equal(parse(message, text, i), -EBADMSG);
        assert_int_equal(parse(message, more, strlen(more)), -EBADMSG);
        assert_int_equal(parse(message, array, strlen(array)), -EBADMSG);
        assert_int_equal(parse(message, text, length + 1), -EBADMSG); /* a NUL */
        assert_int_equal(parse(message, unknown, strlen(unknown)), 0);
}

static void cut_and_more(void **state) {
        for_each(cut_example);
}

static void expect_text(int (*round)(const char *text, size_t size, char **ret), const char *text, int result) {
        _cleanup_(freep) char *encoded = NULL;

        if (round(text, strlen(text), &encoded) != result)
                fail_msg("%s: not %d", text, result);
}

#define KEY "000102030405060708090a0b0c0d0e0f"

static void what_contradicts_itself(void **state) {
        static const char *const details[] = {
                "{\"keys\":[{\"id\":\"" KEY "\",\"kind\":\"volumes\",\"generation\":1,\"state\":\"retired\"}]}",
                "{\"keys\":[{\"id\":\"" KEY "\",\"kind\":\"volumes\",\"generation\":0,\"state\":\"live\"}]}",
                "{\"keys\":[{\"id\":\"" KEY "\",\"kind\":\"volumes\",\"generation\":4294967296,\"state\":\"live\"}]}",
                "{\"keys\":[{\"id\":\"" KEY "\",\"kind\":\"other\",\"generation\":1,\"state\":\"live\"}]}",
                "{\"keys\":[{\"id\":\"" KEY "\",\"kind\":\"volumes\",\"generation\":1,\"state\":\"live\"},"
                "{\"id\":\"" KEY "\",\"kind\":\"payload\",\"generation\":1,\"state\":\"staged\"}]}",
                "{\"keys\":[],\"rotate\":[{\"id\":\"" KEY "\",\"highest\":1},{\"id\":\"" KEY "\",\"highest\":2}]}",
                "{\"keys\":[],\"rotate\":[{\"id\":\"" KEY "\",\"highest\":4294967295}]}",
                "{\"keys\":[],\"payload\":{\"accept\":[],\"version\":1}}",
                "{\"keys\":[{\"id\":\"000102030405060708090A0B0C0D0E0F\",\"kind\":\"volumes\",\"generation\":1,\"state\":\"live\"}]}",
        };
        static const char *const enroll[] = {
                "{\"keys\":[{\"id\":\"" KEY "\",\"kind\":\"volumes\"},{\"id\":\"" KEY "\",\"kind\":\"payload\"}]}",
                "{\"keys\":[1,2,3,4,5,6,7,8,9]}",
        };
        static const char *const problems[] = {
                "{\"type\":\"about:blank\",\"title\":\"\",\"status\":404,\"incident\":\"\"}",
                "{\"type\":\"urn:tallyboot:problem:\",\"title\":\"\",\"status\":404,\"incident\":\"\"}",
                "{\"type\":\"urn:tallyboot:problem:Not-Found\",\"title\":\"\",\"status\":404,\"incident\":\"\"}",
                "{\"type\":\"urn:tallyboot:problem:not-found\",\"title\":\"\",\"status\":200,\"incident\":\"\"}",
                "{\"type\":\"urn:tallyboot:problem:not-found\",\"title\":\"\",\"status\":404,\"incident\":\"0123\"}",
                "{\"type\":\"urn:tallyboot:problem:a-name-that-is-longer-than-any-name-can-be\",\"title\":\"\",\"status\":404,"
                "\"incident\":\"\"}",
        };

        for (size_t i = 0; i < ELEMENTSOF(details); i++)
                expect_text(round_details, details[i], -EBADMSG);
        for (size_t i = 0; i < ELEMENTSOF(enroll); i++)
                expect_text(round_enroll_body, enroll[i], -EBADMSG);
        for (size_t i = 0; i < ELEMENTSOF(problems); i++)
                expect_text(round_problem, problems[i], -EBADMSG);
        expect_text(round_confirmed, "{\"state\":\"staged\",\"retired\":[]}", -EBADMSG);
        expect_text(round_confirmed, "{\"state\":\"live\",\"retired\":[0]}", -EBADMSG);
        expect_text(round_confirm_body,
                    "{\"key\":\"" KEY "\",\"generation\":1,\"opened\":true,\"manifest\":\"e30\",\"mac\":"
                    "\"EBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8\"}",
                    -EBADMSG);
}

/* An example that has the member token is malformed once it has another's member too. */
static void expect_member(int (*round)(const char *text, size_t size, char **ret), const json_t *example, const char *token,
                          const json_t *other, const char *member) {
        json_t *copy = json_deep_copy(example);
        _cleanup_(freep) char *text = NULL, *encoded = NULL;

        if (json_object_get(copy, token)) {
                assert_non_null(json_object_get(other, member));
                json_object_set(copy, member, json_object_get(other, member));
                text = json_dumps(copy, 0);
                assert_int_equal(round(text, strlen(text), &encoded), -EBADMSG);
        }
        json_decref(copy);
}

/* Each purpose has exactly its members: boot no body, enroll a proof, confirm no NK, and so on. */
static void evidence_of_another_purpose(void **state) {
        static const char *const purposes[] = { "boot", "enroll", "rotate", "confirm" };
        const json_t *examples = json_object_get(vectors, "evidence");
        unsigned accepted = 0;

        for (size_t i = 0; i < json_array_size(examples); i++)
                for (size_t j = 0; j < ELEMENTSOF(purposes); j++) {
                        json_t *copy = json_deep_copy(json_array_get(examples, i));
                        _cleanup_(freep) char *text = NULL, *encoded = NULL;

                        json_object_set_new(copy, "purpose", json_string(purposes[j]));
                        text = json_dumps(copy, 0);
                        accepted += round_evidence(text, strlen(text), &encoded) == 0;
                        json_decref(copy);
                }
        assert_int_equal(accepted, json_array_size(examples));
}

/* A quote and a token's signature, a TPM's keys and a token's: whoever sends both leaves it to the reader which one counts. */
static void two_kinds_at_once(void **state) {
        static const char *const quote[] = { "attest", "signature", "pcrs", "proof" };
        static const char *const keys[] = { "ek_public", "ek_certificate", "ek_chain", "ak_public" };
        const json_t *evidence = json_object_get(vectors, "evidence"), *registration = json_object_get(vectors, "registration");
        const json_t *full = json_array_get(evidence, 1);

        for (size_t i = 0; i < json_array_size(evidence); i++)
                for (size_t j = 0; j < ELEMENTSOF(quote); j++)
                        expect_member(round_evidence, json_array_get(evidence, i), "token_signature", full, quote[j]);
        for (size_t i = 0; i < json_array_size(registration); i++)
                for (size_t j = 0; j < ELEMENTSOF(keys); j++)
                        expect_member(round_registration, json_array_get(registration, i), "token_public",
                                      json_array_get(registration, 0), keys[j]);
}

static void pcr_values(void **state) {
        static const char *const bad[] = {
                "{\"sha256\":{}}",
                "{\"md5\":{\"0\":\"00\"}}",
                "{\"sha256\":{\"24\":\"" KEY KEY "\"}}",
                "{\"sha256\":{\"00\":\"" KEY KEY "\"}}",
                "{\"sha256\":{\"-1\":\"" KEY KEY "\"}}",
                "{\"sha256\":{\"\":\"" KEY KEY "\"}}",
                "{\"sha256\":{\"1 \":\"" KEY KEY "\"}}",
                "{\"sha256\":{\"1\":\"" KEY "\"}}",
                "{\"sha256\":{\"1\":\"" KEY KEY "00\"}}",
                "{\"sha384\":{\"1\":\"" KEY KEY "\"}}",
                "{\"SHA256\":{\"1\":\"" KEY KEY "\"}}",
                "{\"sha256\":{\"1\":\"000102030405060708090A0B0C0D0E0F" KEY "\"}}",
                "[]",
        };
        struct pcr_values values = {};

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                json_t *json = json_loads(bad[i], 0, NULL);

                assert_non_null(json);
                if (pcr_values_from_json(json, &values) != -EBADMSG)
                        fail_msg("%s", bad[i]);
                json_decref(json);
        }
        assert_null(pcr_values_bank(&values, 0x000b));
        assert_int_equal(pcr_alg_size(0x000c), 48);
        assert_int_equal(pcr_alg_size(0x0010), 0);
        assert_null(pcr_alg_to_string(0));
}

static json_t *hex_of(const json_t *object, const char *name, void *ret, size_t size) {
        json_t *value = json_object_get(object, name);

        assert_int_equal(hex_decode(json_string_value(value), ret, size), 0);
        return value;
}

/* Against the second implementation that made tests/vectors/protocol.json. */
static void qualifying_data(void **state) {
        json_t *all = json_load_file("tests/vectors/protocol.json", 0, NULL), *quote = json_object_get(all, "quote");
        const char *node = json_string_value(json_object_get(json_object_get(all, "names"), "node_id"));
        uint8_t nk[POINT_SIZE], nonces[2][WIRE_NONCE_SIZE], body[11], want[32], got[32];
        const struct blob blob = { body, sizeof body };

        assert_non_null(node);
        hex_of(quote, "nk", nk, sizeof nk);
        hex_of(quote, "nonce_tenant", nonces[PARTY_TENANT], WIRE_NONCE_SIZE);
        hex_of(quote, "nonce_verifier", nonces[PARTY_VERIFIER], WIRE_NONCE_SIZE);
        hex_of(quote, "body", body, sizeof body);

        hex_of(quote, "boot", want, sizeof want);
        assert_int_equal(wire_qualifying_data(node, PURPOSE_BOOT, nk, nonces, NULL, got), 0);
        assert_memory_equal(got, want, 32);
        assert_int_equal(wire_qualifying_data(node, PURPOSE_BOOT, nk, nonces, &(struct blob){}, got), 0);
        assert_memory_equal(got, want, 32);
        hex_of(quote, "enroll", want, sizeof want);
        assert_int_equal(wire_qualifying_data(node, PURPOSE_ENROLL, nk, nonces, &blob, got), 0);
        assert_memory_equal(got, want, 32);
        hex_of(quote, "confirm", want, sizeof want);
        assert_int_equal(wire_qualifying_data(node, PURPOSE_CONFIRM, NULL, nonces, &blob, got), 0);
        assert_memory_equal(got, want, 32);
        assert_int_equal(wire_qualifying_data(node, PURPOSE_CONFIRM, nk, nonces, &blob, got), -EINVAL);
        assert_int_equal(wire_qualifying_data(node, PURPOSE_BOOT, NULL, nonces, NULL, got), -EINVAL);
        json_decref(all);
}

static void bounds(void **state) {
        _cleanup_(freep) char *deep = malloc(100001), *large = malloc(17 * 1024 * 1024);
        struct wire_evidence evidence = {};
        size_t length;

        memset(deep, '[', 100000);
        memcpy(deep, "{\"a\":", 5);
        assert_null(wire_json_parse(deep, 100000));
        memset(large, ' ', 17 * 1024 * 1024);
        memcpy(large, "{}", 2);
        assert_null(wire_json_parse(large, 17 * 1024 * 1024));
        assert_null(wire_json_parse("", 0));
        assert_null(wire_json_parse(NULL, 0));
        assert_null(wire_json_parse("{\"a\":\"\xff\"}", 9));
        assert_null(wire_json_parse("{\"a\":1,\"a\":1}", 13));
        assert_null(wire_json_parse("{\"a\":{\"b\":1,\"\\u0062\":1}}", 24)); /* the same name, written otherwise */

        /* evidence over 16 KB is refused whatever it holds */
        length = (size_t) sprintf(large, "{\"purpose\":\"boot\",\"unknown\":\"");
        memset(large + length, 'a', 20000);
        memcpy(large + length + 20000, "\"}", 2);
        assert_int_equal(wire_evidence_parse(large, length + 20002, &evidence), -EBADMSG);
}

static void getters(void **state) {
        json_t *json =
                json_loads("{\"s\":\"abc\",\"n\":9007199254740991,\"b\":true,\"bin\":\"AAEC\",\"hex\":\"000102\"}", 0, NULL);
        _cleanup_(blob_done) struct blob blob = {};
        uint8_t bytes[3];
        char text[4];
        uint64_t n = 0;
        bool b = false;

        assert_int_equal(wire_get_string(json, "s", text, 4), 0);
        assert_int_equal(wire_get_string(json, "s", text, 3), -EBADMSG);
        assert_int_equal(wire_get_string(json, "x", text, 4), -ENOENT);
        assert_int_equal(wire_get_u64(json, "n", UINT64_MAX, &n), 0);
        assert_true(n == 9007199254740991);
        assert_int_equal(wire_get_u64(json, "n", 5, &n), -EBADMSG);
        assert_int_equal(wire_get_u64(json, "s", 5, &n), -EBADMSG);
        assert_int_equal(wire_get_bool(json, "b", &b), 0);
        assert_int_equal(wire_get_bool(json, "n", &b), -EBADMSG);
        assert_int_equal(wire_get_bin(json, "bin", 3, &blob), 0);
        assert_int_equal(blob.size, 3);
        blob_done(&blob);
        blob = (struct blob){};
        assert_int_equal(wire_get_bin(json, "bin", 2, &blob), -EBADMSG);
        assert_int_equal(wire_get_bin(json, "x", 2, &blob), -ENOENT);
        assert_int_equal(wire_get_bin_fixed(json, "bin", bytes, 3), 0);
        assert_int_equal(wire_get_bin_fixed(json, "bin", bytes, 2), -EBADMSG);
        assert_int_equal(wire_get_hex_fixed(json, "hex", bytes, 3), 0);
        assert_int_equal(wire_get_hex_fixed(json, "hex", bytes, 2), -EBADMSG);
        assert_int_equal(wire_get_hex_fixed(json, "hex", bytes, 4), -EBADMSG);
        json_decref(json);
}

static void statuses(void **state) {
        struct wire_problem problem = { .name = "rate-limited" };
        _cleanup_(freep) char *text = wire_problem_encode(&problem);

        assert_int_equal(wire_problem_status("unknown-node"), 404);
        assert_int_equal(wire_problem_status("stale-nonce"), 409);
        assert_int_equal(wire_problem_status("no such"), 500);
        assert_non_null(strstr(text, "\"status\":429"));
}

static void logs(void **state) {
        static const char good[] = "\0\0\0\2{}\0\0\0\0\0\0\0\4list", huge[] = "\0\0\0\2{}\0\x40\0\1";
        _cleanup_(buffer_done) struct buffer again = {};
        struct wire_logs logs;
        uint8_t twice[76] = {};
        char text[512];

        assert_int_equal(wire_logs_parse(good, sizeof good - 1, &logs), 0);
        assert_int_equal(logs.evidence.size, 2);
        assert_memory_equal(logs.evidence.data, "{}", 2);
        assert_int_equal(logs.firmware.size, 0);
        assert_int_equal(logs.ima.size, 4);
        assert_int_equal(wire_logs_encode(&logs, &again), 0);
        assert_int_equal(again.size, sizeof good - 1);
        assert_memory_equal(again.data, good, again.size);

        for (size_t i = 0; i < sizeof good - 1; i++)
                assert_int_equal(wire_logs_parse(good, i, &logs), -EBADMSG);
        assert_int_equal(wire_logs_parse(good, sizeof good, &logs), -EBADMSG);
        assert_int_equal(wire_logs_parse(huge, sizeof huge - 1, &logs), -E2BIG);

        /* one log twice, a firmware log that does not begin at its beginning, none at all */
        for (unsigned i = 0; i < 3; i++) {
                static const char *const lists[] = { "{\"kind\":\"ima\",\"from\":0},{\"kind\":\"ima\",\"from\":1}",
                                                     "{\"kind\":\"firmware\",\"from\":1}", "" };
                struct wire_logs_wanted wanted = {};
                _cleanup_(freep) char *ticket = base64url_encode(twice, sizeof twice);

                snprintf(text, sizeof text, "{\"logs\":[%s],\"ticket\":\"%s\"}", lists[i], ticket);
                assert_int_equal(wire_logs_wanted_parse(text, strlen(text), &wanted), -EBADMSG);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(round_trips),
                cmocka_unit_test(mutations),
                cmocka_unit_test(cut_and_more),
                cmocka_unit_test(what_contradicts_itself),
                cmocka_unit_test(evidence_of_another_purpose),
                cmocka_unit_test(two_kinds_at_once),
                cmocka_unit_test(pcr_values),
                cmocka_unit_test(qualifying_data),
                cmocka_unit_test(bounds),
                cmocka_unit_test(getters),
                cmocka_unit_test(statuses),
                cmocka_unit_test(logs),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
