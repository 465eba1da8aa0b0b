/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "http/server.h"

/* Room on the disk. Below [limits] free-space nothing new is taken (registrations, enrollments, uploads): what is left is for
 * releases and operators. When that is gone too, releases are refused, for their record must be on the disk first. */
enum space { SPACE_GOOD, SPACE_LOW, SPACE_NONE };

struct service;
struct service_call;

enum space service_space(struct service *service);  /* looked at twice a second at most */
void service_space_failed(struct service *service); /* a write just failed for want of room */
/* Whether an upload may go on: looked at each time, for a fast one fills a disk in less than half a second. */
bool service_upload_has_room(const struct service *service);
const char *space_to_string(enum space space); /* "ok", "low-space", "full": as in /v1/health */
/* True, and the problem "unavailable" is in response, where new work is not taken. */
bool service_refuses_new_work(const struct service_call *call, struct http_response *response);
