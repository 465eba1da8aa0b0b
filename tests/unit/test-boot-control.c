/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "boot/control-socket.h"
#include "boot/control.h"
#include "boot/notes.h"
#include "boot/volumes.h"
#include "scratch.h"

/* The unlocker's socket, both ends of it: who waits, who is told, and that nobody is left waiting. */

#define UUID "7a11b007-0000-4000-8000-000000000002"

static char run_dir[64];

static int setup(void **state) {
        struct control *control = NULL;

        if (scratch_make(run_dir) < 0 || control_open(run_dir, &control) < 0)
                return -1;
        *state = control;
        return 0;
}

static int teardown(void **state) {
        control_free(*state);
        return scratch_remove(run_dir);
}

/* A client, as a thread. */
struct client {
        pthread_t thread;
        int (*ask)(void);
        int result;
        _Atomic bool over;
};

static void *client_thread(void *userdata) {
        struct client *client = userdata;

        client->result = client->ask();
        client->over = true;
        return NULL;
}

static bool is_over(const struct client *client) {
        return client->over;
}

static void begin(struct client *client, int (*ask)(void)) {
        *client = (struct client){ .ask = ask, .result = -1000 };
        assert_int_equal(pthread_create(&client->thread, NULL, client_thread, client), 0);
}

static int end(struct client *client) {
        assert_int_equal(pthread_join(client->thread, NULL), 0);
        return client->result;
}

static int wait_long(void) {
        return control_wait_volume(run_dir, "root", UUID, 120000);
}

static int wait_for_ever(void) {
        return control_wait_volume(run_dir, "root", UUID, 3600 * 1000);
}

static unsigned shortly_ms = 100;

static int wait_shortly(void) {
        return control_wait_volume(run_dir, "root", UUID, shortly_ms);
}

static int wait_payload(void) {
        return control_wait_payload(run_dir, 120000);
}

static int wait_settled(void) {
        return control_wait_settled(run_dir, 120000);
}

static int tell_opened(void) {
        return control_tell_opened(run_dir, "root");
}

static int stop(void) {
        return control_stop(run_dir);
}

static void until_claimed(struct control *control) {
        char name[LUKS_NAME_MAX] = "";

        for (unsigned i = 0; i < 20000 && !control_claim(control, UUID, name); i++)
                sleep_ms(5);
        assert_string_equal(name, "root");
}

static struct control_request until_asked(struct control *control) {
        struct control_request request = {};
        bool asked = false;

        for (unsigned i = 0; i < 20000 && !(asked = control_next(control, &request)); i++)
                sleep_ms(5);
        assert_true(asked);
        return request;
}

static void a_waiter_is_told(void **state) {
        for (unsigned opened = 0; opened < 2; opened++) {
                struct client client;

                begin(&client, wait_long);
                until_claimed(*state);
                control_settle(*state, UUID, opened);
                assert_int_equal(end(&client), opened);
        }
}

static void a_waiter_leaves_when_its_time_is_over(void **state) {
        struct client client;
        char name[LUKS_NAME_MAX];

        begin(&client, wait_shortly);
        assert_int_equal(end(&client), 0);
        assert_false(control_claim(*state, UUID, name)); /* from here systemd-cryptsetup may be at the volume */
}

static void a_waiter_does_not_leave_while_its_volume_is_being_opened(void **state) {
        char name[LUKS_NAME_MAX] = "";
        struct client client;

        /* with more time where this machine was too slow to claim it before it was over */
        for (shortly_ms = 100;; shortly_ms *= 2) {
                begin(&client, wait_shortly);
                while (!control_claim(*state, UUID, name) && !is_over(&client))
                        sleep_ms(1);
                if (*name)
                        break;
                assert_int_equal(end(&client), 0);
                assert_true(shortly_ms < 60000);
        }
        sleep_ms(3 * shortly_ms);
        control_settle(*state, UUID, true);
        assert_int_equal(end(&client), 1);
        shortly_ms = 100;
}

static void only_the_waiter_of_a_volume_is_claimed(void **state) {
        struct client client;
        char name[LUKS_NAME_MAX];

        begin(&client, wait_long);
        until_claimed(*state);
        assert_false(control_claim(*state, "7a11b007-0000-4000-8000-000000000003", name));
        control_settle(*state, "7a11b007-0000-4000-8000-000000000003", true);
        control_settle(*state, UUID, false);
        assert_int_equal(end(&client), 0);
}

static bool knows_nothing(const char *uuid _unused_, void *userdata _unused_) {
        return false;
}

static void a_waiter_for_what_no_manifest_names_does_not_wait(void **state) {
        struct client client;

        begin(&client, wait_for_ever);
        for (unsigned i = 0; i < 20000 && !is_over(&client); i++) {
                control_fail_unknown(*state, knows_nothing, NULL);
                sleep_ms(5);
        }
        assert_true(is_over(&client));
        assert_int_equal(end(&client), 0);
}

static void the_end_of_the_unlocker_ends_every_waiting(void **state) {
        struct client volume, payload;

        begin(&payload, wait_payload);
        begin(&volume, wait_long);
        until_claimed(*state);
        *state = control_free(*state);
        assert_int_equal(end(&volume), 0);
        assert_true(end(&payload) <= 0);                                    /* negative where it came only now */
        assert_true(control_wait_volume(run_dir, "root", UUID, 20000) < 0); /* nobody is there: at once */
        assert_int_equal(control_stop(run_dir), 0);
}

static void the_payload_is_waited_for(void **state) {
        struct client early, late;

        begin(&early, wait_payload);
        sleep_ms(50);
        control_payload(*state, true);
        assert_int_equal(end(&early), 1);
        begin(&late, wait_payload);
        assert_int_equal(end(&late), 1);
}

static void so_is_the_end_of_all_work(void **state) {
        struct client early, late;

        begin(&early, wait_settled);
        sleep_ms(50);
        control_settled(*state);
        assert_int_equal(end(&early), 1);
        begin(&late, wait_settled);
        assert_int_equal(end(&late), 1);
}

static void a_stop_interrupts_and_is_answered(void **state) {
        struct pollfd cancelled = { control_cancel_fd(*state), POLLIN, 0 };
        struct control_request request;
        struct client client;

        assert_int_equal(poll(&cancelled, 1, 0), 0);
        begin(&client, stop);
        assert_int_equal(poll(&cancelled, 1, 120000), 1);
        request = until_asked(*state);
        assert_int_equal(request.verb, CONTROL_STOP);
        assert_int_equal(poll(&cancelled, 1, 0), 0);
        assert_false(control_next(*state, &request)); /* asked once, handed over once */
        control_answer(*state, &request, "closed");
        assert_int_equal(end(&client), 0);
}

static void an_opened_volume_is_told_and_answered(void **state) {
        struct control_request request;
        struct client client;

        begin(&client, tell_opened);
        request = until_asked(*state);
        assert_int_equal(request.verb, CONTROL_OPENED);
        assert_string_equal(request.name, "root");
        control_answer(*state, &request, "ok");
        assert_int_equal(end(&client), 0);
}

static void two_requests_at_once_both_come(void **state) {
        struct client first, second;
        struct control_request request;

        begin(&first, tell_opened);
        begin(&second, stop);
        for (unsigned i = 0; i < 2; i++) {
                request = until_asked(*state);
                control_answer(*state, &request, "ok");
        }
        assert_int_equal(end(&first), 0);
        assert_int_equal(end(&second), 0);
}

static void a_second_unlocker_does_not_start(void **state _unused_) {
        struct control *second = NULL;

        assert_int_equal(control_open(run_dir, &second), -EADDRINUSE);
}

/* A process that listens and does nothing else. */
static pid_t fork_hanging(void) {
        int ready[2];
        char byte;
        pid_t pid;

        assert_int_equal(pipe(ready), 0);
        pid = fork();
        if (pid == 0) {
                struct control *control = NULL;

                if (control_open(run_dir, &control) < 0 || write(ready[1], "x", 1) != 1)
                        _exit(1);
                for (;;)
                        pause();
        }
        assert_int_equal(read(ready[0], &byte, 1), 1);
        (void) close(ready[0]);
        (void) close(ready[1]);
        return pid;
}

static void expect_killed(pid_t pid) {
        int status = 0;

        for (unsigned i = 0; i < 20000 && waitpid(pid, &status, WNOHANG) == 0; i++)
                sleep_ms(5);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* The unlocker hangs (a TPM that does not answer): who closes the gate kills it, and so its memory. */
static void a_hanging_unlocker_is_killed(void **state) {
        pid_t pid;

        *state = control_free(*state);
        pid = fork_hanging();
        assert_int_equal(control_stop(run_dir), 0);
        expect_killed(pid);
}

/* A disk with more volumes than there are places, and somebody waiting for each: being hung up on is not the unlocker's end. */
static void an_unlocker_without_room_is_ended_all_the_same(void **state) {
        _cleanup_(freep) char *path = path_join(run_dir, "control");
        int fds[CONTROL_CLIENTS_MAX];
        pid_t pid;

        *state = control_free(*state);
        for (unsigned quit = 0; quit < 2; quit++) {
                pid = fork_hanging();
                for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                        assert_true((fds[i] = control_connect(path)) >= 0);
                assert_int_equal(quit ? control_quit(run_dir) : control_stop(run_dir), 0);
                expect_killed(pid);
                for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                        (void) close(fds[i]);
        }
}

static void notes(void **state _unused_) {
        static const struct opened opened = { .name = "luks-1", .uuid = UUID, .root = true };
        struct opened *list = NULL;
        size_t n = 0;
        char *text;

        assert_false(note_exists(run_dir, "halves"));
        assert_null(note_read(run_dir, "gate-closed"));
        assert_int_equal(note_write(run_dir, "gate-closed", "why\nmore\n"), 0);
        text = note_read(run_dir, "gate-closed");
        assert_string_equal(text, "why");
        free(text);
        assert_int_equal(opened_note(run_dir, &opened), 0);
        assert_int_equal(opened_list(run_dir, &list, &n), 0);
        assert_int_equal(n, 1);
        assert_string_equal(list[0].name, "luks-1");
        assert_string_equal(list[0].uuid, UUID);
        assert_true(list[0].root);
        free(list);
        opened_forget(run_dir, "luks-1");
        assert_int_equal(opened_list(run_dir, &list, &n), 0);
        assert_int_equal(n, 0);
        free(list);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                test(a_waiter_is_told),
                test(a_waiter_leaves_when_its_time_is_over),
                test(a_waiter_does_not_leave_while_its_volume_is_being_opened),
                test(only_the_waiter_of_a_volume_is_claimed),
                test(a_waiter_for_what_no_manifest_names_does_not_wait),
                test(the_end_of_the_unlocker_ends_every_waiting),
                test(the_payload_is_waited_for),
                test(so_is_the_end_of_all_work),
                test(a_stop_interrupts_and_is_answered),
                test(an_opened_volume_is_told_and_answered),
                test(two_requests_at_once_both_come),
                test(a_second_unlocker_does_not_start),
                test(a_hanging_unlocker_is_killed),
                test(an_unlocker_without_room_is_ended_all_the_same),
                test(notes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
