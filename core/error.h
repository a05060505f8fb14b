/*
 * error: what went wrong, in words, for nvmmio_last_error().  One text for each
 * thread, so no locks; nothing is allocated.
 */
#ifndef NV_ERROR_H
#define NV_ERROR_H

/* Keep the text and return `code` (a negative errno), so that a failing function can end with
 * `return nv_fail(-EINVAL, "...")`.  The text names the thing and says what to do. */
__attribute__((format(printf, 2, 3), cold)) int nv_fail(int code, const char *format, ...);

#endif
