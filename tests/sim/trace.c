#include "tests/sim/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *grow(void *memory, size_t bytes)
{
    void *more = realloc(memory, bytes);
    if (!more) {
        fputs("sim: out of memory\n", stderr);
        abort();
    }
    return more;
}

void trace_init(struct trace *trace)
{
    *trace = (struct trace){.count = 0};
}

void trace_free(struct trace *trace)
{
    free(trace->events);
    free(trace->data);
    trace_init(trace);
}

void trace_clear(struct trace *trace)
{
    trace->count = 0;
    trace->data_bytes = 0;
}

struct trace_event *trace_add(struct trace *trace, enum trace_kind kind)
{
    if (trace->count == trace->capacity) {
        trace->capacity = trace->capacity ? 2 * trace->capacity : 256;
        trace->events = grow(trace->events, trace->capacity * sizeof *trace->events);
    }
    struct trace_event *event = &trace->events[trace->count++];
    *event = (struct trace_event){.kind = (uint8_t)kind};
    return event;
}

uint8_t *trace_data(struct trace *trace, size_t bytes, size_t *place)
{
    if (trace->data_capacity - trace->data_bytes < bytes) {
        size_t capacity = trace->data_capacity ? trace->data_capacity : (size_t)1 << 16;
        while (capacity - trace->data_bytes < bytes)
            capacity *= 2;
        trace->data = grow(trace->data, capacity);
        trace->data_capacity = capacity;
    }
    *place = trace->data_bytes;
    trace->data_bytes += bytes;
    return trace->data + *place;
}

void trace_describe(const struct trace *trace, size_t index, char *text, size_t bytes)
{
    static const char *const names[] = {
        [TRACE_STORE] = "store",
        [TRACE_ZERO] = "store zeros",
        [TRACE_SIZE] = "size",
        [TRACE_MAKE] = "make",
        [TRACE_NAME] = "name",
        [TRACE_UNNAME] = "unlink",
        [TRACE_RENAME] = "rename",
        [TRACE_FENCE] = "fence",
        [TRACE_SYNC] = "sync",
        [TRACE_SYNC_FAILED] = "sync failed",
        [TRACE_SYNC_DIRECTORY] = "sync directory",
        [TRACE_NOTE] = "note",
    };
    const struct trace_event *event = &trace->events[index];
    int at = snprintf(text, bytes, "%zu: process %u %s", index, event->process, names[event->kind]);
    if (at < 0 || (size_t)at >= bytes)
        return;
    text += at;
    bytes -= (size_t)at;
    switch ((enum trace_kind)event->kind) {
    case TRACE_STORE:
    case TRACE_ZERO:
        snprintf(text, bytes, " file %u [%llu, +%u)%s note %u", event->file,
                 (unsigned long long)event->offset, event->bytes,
                 event->cover == COVER_NONE ? " unflushed" : "", event->note);
        break;
    case TRACE_SIZE:
        snprintf(text, bytes, " file %u = %llu", event->file, (unsigned long long)event->offset);
        break;
    case TRACE_NAME:
        snprintf(text, bytes, " %s = file %u", trace_path(trace, event), event->file);
        break;
    case TRACE_RENAME:
        snprintf(text, bytes, " %s = %s", trace_path(trace, event), trace_path_from(trace, event));
        break;
    case TRACE_UNNAME:
    case TRACE_SYNC_DIRECTORY:
        snprintf(text, bytes, " %s", trace_path(trace, event));
        break;
    case TRACE_MAKE:
    case TRACE_SYNC:
    case TRACE_SYNC_FAILED:
        snprintf(text, bytes, " file %u", event->file);
        break;
    case TRACE_NOTE:
        snprintf(text, bytes, " %u", event->note);
        break;
    case TRACE_FENCE:
    default:
        break;
    }
}
