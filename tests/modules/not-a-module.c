/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A shared object that is no PKCS#11 module. */
int something(void) {
        return 0;
}
