/*
 * error: what went wrong, in words, for nvmmio_last_error().  One text for each
 * thread, so no locks; nothing is allocated.
 */
#ifndef NV_ERROR_H
#define NV_ERROR_H

/* Keep the text and return `code` (a negative errno), so that a failing function can end with
 * `return nv_fail(-EINVAL, "...")`.  The text names the thing and says what to do. */
#define nv_fail(code, ...) (nv_note(__VA_ARGS__), (code))

__attribute__((format(printf, 1, 2), cold)) void nv_note(const char *format, ...);

#endif
