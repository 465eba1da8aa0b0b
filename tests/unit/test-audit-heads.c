/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "audit/past.h"
#include "base/clock.h"
#include "scratch.h"

/* Heads of another service's log: what is taken, and what is refused. The tests of services have the rest. */

static char directory[64];
static struct store *store;
static struct keypair *key, *other;

static int setup(void **state) {
        const struct store_migration migrations[] = { audit_migration,
                                                      { 2, audit_peers_migration },
                                                      { 3, audit_past_migration } };
        char path[96], error[256] = "";

        (void) state;
        if (scratch_make(directory) < 0 || keypair_generate(&key) < 0 || keypair_generate(&other) < 0)
                return -1;
        (void) snprintf(path, sizeof(path), "%s/database", directory);
        return store_open(path, "verifier", migrations, 3, &store, error, sizeof(error));
}

static int teardown(void **state) {
        (void) state;
        store = store_close(store);
        key = keypair_free(key);
        other = keypair_free(other);
        return scratch_remove(directory);
}

/* A head of the tenant's at seq, with hashes that are all that number; past: of the branch that it is on. */
static struct audit_head head_at(int64_t seq, int64_t from, uint8_t past) {
        struct audit_head head = { .role = "tenant", .seq = seq, .from_seq = from };

        memset(head.hash, (int) seq + past, sizeof(head.hash));
        if (from > 0)
                memset(head.from_hash, (int) from + past, sizeof(head.from_hash));
        assert_int_equal(audit_head_sign(&head, key), 0);
        return head;
}

struct taking {
        const struct audit_head *head;
        int64_t asked;
        enum audit_taken taken;
        struct audit_peer peer;
        int64_t records;
};

static int row_count(const struct store_value *columns, size_t n, void *userdata) {
        (void) n;
        *(int64_t *) userdata = columns[0].number;
        return 0;
}

static int take_fn(struct store_txn *txn, void *userdata) {
        struct taking *taking = userdata;
        int r;

        r = audit_peer_take(txn, taking->head, taking->asked, &taking->taken, &taking->peer);
        return r < 0 ? r : store_query(txn, "SELECT COUNT(*) FROM audit", STORE_NO_ARGS, row_count, &taking->records);
}

static struct taking expect_asked(struct audit_head head, int64_t asked, enum audit_taken expected, const char *alarm,
                                  int64_t known) {
        struct taking taking = { .head = &head, .asked = asked };

        assert_int_equal(store_write(store, take_fn, &taking), 0);
        assert_int_equal(taking.taken, expected);
        assert_string_equal(taking.peer.alarm, alarm);
        assert_int_equal(taking.peer.seq, known);
        return taking;
}

static struct taking expect_taken(struct audit_head head, enum audit_taken expected, const char *alarm, int64_t known) {
        return expect_asked(head, AUDIT_NOT_ASKED, expected, alarm, known);
}

/* Growing is not enough: who is asked for the head from a record that he signed before has to show it. */
static void test_evades(void **state) {
        (void) state;
        (void) expect_asked(head_at(5, 0, 0), 0, AUDIT_RECORDED, "", 5);
        (void) expect_asked(head_at(9, 0, 1), 5, AUDIT_ALARM, "not shown to follow", 5);
        assert_int_equal(expect_asked(head_at(9, 3, 1), 5, AUDIT_ALARM, "not shown to follow", 5).records, 2);
        /* asked for another one, meanwhile a head was recorded: no reason for an alarm */
        (void) expect_asked(head_at(9, 3, 0), 3, AUDIT_NOT_FROM, "not shown to follow", 5);
        (void) expect_asked(head_at(5, 0, 0), 5, AUDIT_SAME, "not shown to follow", 5);
        (void) expect_asked(head_at(9, 5, 0), 5, AUDIT_RECORDED, "", 9);
}

static void test_grows(void **state) {
        (void) state;
        assert_int_equal(expect_taken(head_at(5, 0, 0), AUDIT_RECORDED, "", 5).records, 1);
        assert_int_equal(expect_taken(head_at(5, 0, 0), AUDIT_SAME, "", 5).records, 1);
        assert_int_equal(expect_taken(head_at(9, 0, 0), AUDIT_NOT_FROM, "", 5).records, 1);
        assert_int_equal(expect_taken(head_at(9, 3, 0), AUDIT_NOT_FROM, "", 5).records, 1);
        assert_int_equal(expect_taken(head_at(9, 5, 0), AUDIT_RECORDED, "", 9).records, 2);
}

static void test_behind(void **state) {
        (void) state;
        (void) expect_taken(head_at(5, 0, 0), AUDIT_RECORDED, "", 5);
        assert_int_equal(expect_taken(head_at(4, 0, 0), AUDIT_ALARM, "behind", 5).records, 2);
        /* it goes on; nothing is written for each */
        assert_int_equal(expect_taken(head_at(4, 0, 0), AUDIT_ALARM, "behind", 5).records, 2);
        assert_int_equal(expect_taken(head_at(5, 0, 9), AUDIT_ALARM, "forked", 5).records, 2);
}

static void test_forked(void **state) {
        (void) state;
        (void) expect_taken(head_at(5, 0, 0), AUDIT_RECORDED, "", 5);
        (void) expect_taken(head_at(5, 0, 1), AUDIT_ALARM, "forked", 5);
        (void) expect_taken(head_at(8, 5, 1), AUDIT_ALARM, "forked", 5);
        (void) expect_taken(head_at(8, 5, 0), AUDIT_RECORDED, "", 8);
}

static void test_not_signed(void **state) {
        struct audit_head head = head_at(5, 0, 0);

        (void) state;
        head.seq = 6;
        (void) expect_taken(head, AUDIT_ALARM, "not signed", 0);
        assert_int_equal(expect_taken(head, AUDIT_ALARM, "not signed", 0).records, 1);
        (void) expect_taken(head_at(5, 0, 0), AUDIT_RECORDED, "", 5);
        head = head_at(7, 5, 0);
        head.signature_size = 0;
        (void) expect_taken(head, AUDIT_ALARM, "not signed", 5);
}

static void test_another_key(void **state) {
        struct audit_head head = head_at(9, 5, 0);

        (void) state;
        (void) expect_taken(head_at(5, 0, 0), AUDIT_RECORDED, "", 5);
        assert_int_equal(audit_head_sign(&head, other), 0);
        assert_int_equal(audit_head_verify(&head), 0);
        (void) expect_taken(head, AUDIT_ALARM, "another key", 5);
}

static int forget_fn(struct store_txn *txn, void *userdata) {
        return audit_peer_forget(txn, userdata);
}

static void test_accepted(void **state) {
        (void) state;
        assert_int_equal(store_write(store, forget_fn, "tenant"), -ENOENT);
        (void) expect_taken(head_at(5, 0, 0), AUDIT_RECORDED, "", 5);
        (void) expect_taken(head_at(2, 0, 7), AUDIT_ALARM, "behind", 5);
        assert_int_equal(store_write(store, forget_fn, "tenant"), 0);
        (void) expect_taken(head_at(2, 0, 7), AUDIT_RECORDED, "", 2);
}

static void test_json(void **state) {
        const struct audit_head head = head_at(5, 2, 0);
        struct audit_head again = {};
        json_t *json = audit_head_to_json(&head);

        (void) state;
        assert_int_equal(audit_head_from_json(json, &again), 0);
        assert_int_equal(audit_head_verify(&again), 0);
        assert_int_equal(json_object_set_new(json, "role", json_string("operator")), 0);
        assert_int_equal(audit_head_from_json(json, &again), -EBADMSG);
        assert_int_equal(audit_head_from_json(NULL, &again), -EBADMSG);
        json_decref(json);
}

struct past {
        const struct audit_head *head;
        bool held, is_held;
        int64_t records;
};

static int past_fn(struct store_txn *txn, void *userdata) {
        struct past *past = userdata;
        int r;

        r = audit_past_take(txn, past->head, "tenant", key->public, &past->held);
        if (r >= 0)
                r = audit_past_is_held(txn, &past->is_held);
        return r < 0 ? r : store_query(txn, "SELECT COUNT(*) FROM audit", STORE_NO_ARGS, row_count, &past->records);
}

static struct past show(struct audit_head head) {
        struct past past = { .head = &head };

        assert_int_equal(store_write(store, past_fn, &past), 0);
        return past;
}

static int append_fn(struct store_txn *txn, void *userdata) {
        return audit_append(txn, &(struct audit_record){ .event = userdata });
}

static int own_fn(struct store_txn *txn, void *userdata) {
        return audit_head_read(txn, "tenant", 0, userdata);
}

static int accept_fn(struct store_txn *txn, void *userdata) {
        (void) userdata;
        return audit_past_accept(txn);
}

/* Ours as it is now, signed. */
static struct audit_head own_head(void) {
        struct audit_head head = {};

        assert_int_equal(store_read(store, own_fn, &head), 0);
        assert_int_equal(audit_head_sign(&head, key), 0);
        return head;
}

static void test_past_is_ours(void **state) {
        struct audit_head early;

        (void) state;
        assert_int_equal(store_write(store, append_fn, "approve"), 0);
        early = own_head();
        assert_int_equal(store_write(store, append_fn, "release"), 0);
        assert_false(show(early).is_held);
        assert_false(show(own_head()).is_held);
        assert_int_equal(store_write(store, accept_fn, NULL), -ENOENT);
}

static void test_past_of_an_older_database(void **state) {
        struct past past;

        (void) state;
        assert_int_equal(store_write(store, append_fn, "approve"), 0);
        past = show(head_at(9, 0, 0));
        assert_true(past.held && past.is_held);
        assert_int_equal(past.records, 2);
        past = show(head_at(9, 0, 0)); /* and again: said once */
        assert_true(!past.held && past.is_held);
        assert_int_equal(past.records, 2);
        assert_int_equal(store_write(store, accept_fn, NULL), 0);
        assert_false(show(own_head()).is_held);
}

static void test_past_that_forked(void **state) {
        (void) state;
        for (int i = 0; i < 6; i++)
                assert_int_equal(store_write(store, append_fn, "approve"), 0);
        assert_true(show(head_at(5, 0, 0)).is_held);
}

static void test_past_of_somebody_else(void **state) {
        struct audit_head head = head_at(9, 0, 0);
        struct past past = { .head = &head };

        (void) state;
        assert_int_equal(audit_head_sign(&head, other), 0);
        assert_int_equal(store_write(store, past_fn, &past), -EKEYREJECTED);
        head = head_at(9, 0, 0);
        head.seq = 10; /* what was signed is 9 */
        assert_int_equal(store_write(store, past_fn, &past), -EKEYREJECTED);
        head = head_at(9, 0, 0);
        (void) strcpy(head.role, "verifier");
        assert_int_equal(audit_head_sign(&head, key), 0);
        assert_int_equal(store_write(store, past_fn, &past), -EKEYREJECTED);
}

/* Who kept a head of the lost past must not hold us with it for ever. */
static void test_past_is_shown_again_later(void **state) {
        struct audit_head head = head_at(9, 0, 0), later;
        int64_t accepted;

        (void) state;
        assert_int_equal(store_write(store, append_fn, "approve"), 0);
        assert_true(show(head).is_held);
        assert_int_equal(store_write(store, accept_fn, NULL), 0);
        accepted = (int64_t) clock_realtime_ms();
        assert_false(show(head).is_held);
        for (int i = 0; i < 12; i++)
                assert_int_equal(store_write(store, append_fn, "approve"), 0);
        assert_false(show(head).is_held);

        /* but one that was signed since does */
        later = head;
        do
                assert_int_equal(audit_head_sign(&later, key), 0);
        while (later.time <= accepted);
        assert_true(show(later).is_held);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_grows),
                TEST(test_behind),
                TEST(test_forked),
                TEST(test_not_signed),
                TEST(test_another_key),
                TEST(test_accepted),
                TEST(test_json),
                TEST(test_evades),
                TEST(test_past_is_ours),
                TEST(test_past_of_an_older_database),
                TEST(test_past_that_forked),
                TEST(test_past_of_somebody_else),
                TEST(test_past_is_shown_again_later),
        };

        return cmocka_run_group_tests_name("audit heads", tests, NULL, NULL);
}
