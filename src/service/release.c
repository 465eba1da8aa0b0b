/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/log.h"
#include "service/admit.h"

/* A decision is made on what was read; if an operator, or the node's other request, was faster, it is made again. */
enum { TRIES_MAX = 5 };

static int release_once(struct admission *a, struct http_response *response) {
        int r;

        r = admit_verify(a, response);
        if (r < 0)
                return r;

        switch (a->evidence.purpose) {
        case PURPOSE_BOOT:
                return release_boot(a, response);
        case PURPOSE_ENROLL:
                return release_enroll(a, response);
        case PURPOSE_ROTATE:
                return release_rotate(a, response);
        case PURPOSE_CONFIRM:
                return release_confirm(a, response);
        }
        return -EINVAL;
}

/* An answer that was prepared before its transaction must not leave without it. */
static void drop_answer(struct http_response *response) {
        if (response->body)
                memory_wipe(response->body, response->body_size);
        free(response->body);
        response->body = NULL;
        response->body_size = 0;
        response->status = 0;
}

void release_run(struct admission *a, int r, struct http_response *response) {
        const struct service_call *call = a->call;

        for (unsigned i = 0; r >= 0; i++) {
                r = release_once(a, response);
                if (r != -EAGAIN || i + 1 >= TRIES_MAX)
                        break;
                log_debug("Node %s changed while a release was decided: once more.", a->id);
                drop_answer(response);
                admit_again(a);
                r = 0;
        }

        if (r < 0 && r != -ECANCELED) {
                drop_answer(response);
                if (r == -EAGAIN)
                        service_problem(call, response, "unavailable", "This node is being changed.");
                else
                        service_failure(call, response, r);
        }
}

void release_post(const struct service_call *call, struct http_response *response) {
        _cleanup_(admission_done) struct admission a = {};
        const struct wire_span text = { call->request->body, call->request->body_size };

        release_run(&a, admit_begin(&a, call, &text, 0, response), response);
}
