#include "core/tool/progress.h"

#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define REDRAW_NS 100000000u
#define COLUMNS_DEFAULT 80u
#define BAR_MAX 40u

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

char *nv_progress_bytes(uint64_t bytes, char *out, size_t out_bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (bytes < 1024) {
        snprintf(out, out_bytes, "%" PRIu64 " bytes", bytes);
        return out;
    }
    double value = (double)bytes / 1024;
    size_t i = 0;
    while (value >= 1024 && i + 1 < sizeof(units) / sizeof(units[0])) {
        value /= 1024;
        i++;
    }
    snprintf(out, out_bytes, "%.1f %s", value, units[i]);
    return out;
}

void nv_progress_start(struct nv_progress *progress, FILE *stream, const char *label,
                       const char *unit, bool lines)
{
    memset(progress, 0, sizeof(*progress));
    progress->stream = stream;
    progress->label = label;
    progress->unit = unit;
    progress->terminal = isatty(fileno(stream));
    progress->lines = lines;
}

static void amount(const struct nv_progress *progress, uint64_t value, char *out, size_t out_bytes)
{
    if (progress->unit)
        snprintf(out, out_bytes, "%" PRIu64, value);
    else
        nv_progress_bytes(value, out, out_bytes);
}

static void draw(const struct nv_progress *progress, uint64_t done, uint64_t total)
{
    struct winsize window;
    unsigned columns = COLUMNS_DEFAULT;
    if (ioctl(fileno(progress->stream), TIOCGWINSZ, &window) == 0 && window.ws_col)
        columns = window.ws_col;

    char a[32], b[32], tail[96];
    amount(progress, done, a, sizeof(a));
    amount(progress, total, b, sizeof(b));
    double part = (double)done / (double)total;
    int tail_bytes = snprintf(tail, sizeof(tail), " %3.0f %%  %s of %s%s%s", part * 100, a, b,
                              progress->unit ? " " : "", progress->unit ? progress->unit : "");

    /* The last column stays free: some terminals wrap as soon as it is written. */
    size_t used = strlen(progress->label) + 3 + (size_t)tail_bytes + 1;
    unsigned width = columns > used ? columns - (unsigned)used : 0;
    if (width > BAR_MAX)
        width = BAR_MAX;
    char bar[BAR_MAX + 1];
    unsigned full = (unsigned)(part * width);
    memset(bar, '#', full);
    memset(bar + full, '.', width - full);
    bar[width] = '\0';
    fprintf(progress->stream, "\r%s [%s]%s\033[K", progress->label, bar, tail);
    fflush(progress->stream);
}

void nv_progress_update(struct nv_progress *progress, uint64_t done, uint64_t total)
{
    if (!total)
        return;
    if (done > total)
        done = total;
    if (progress->terminal) {
        uint64_t now = clock_ns();
        if (progress->drawn && done < total && now - progress->last_ns < REDRAW_NS)
            return;
        progress->last_ns = now;
        progress->drawn = true;
        draw(progress, done, total);
        return;
    }
    unsigned tenth = (unsigned)((double)done / (double)total * 10);
    if (!progress->lines || tenth == progress->last_tenth)
        return;
    progress->last_tenth = tenth;
    fprintf(progress->stream, "%s: %u %%\n", progress->label, tenth * 10);
    fflush(progress->stream);
}

void nv_progress_end(struct nv_progress *progress)
{
    if (progress->drawn)
        fputc('\n', progress->stream);
    progress->drawn = false;
    fflush(progress->stream);
}
