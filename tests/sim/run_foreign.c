/* run_foreign: what a program without nvmmio does to a home. */
#include <string.h>

#include "tests/sim/run.h"

/* Whether there is anything of nvmmio's for a home, or no home. */
static bool has_log(const struct run *run, uint32_t file)
{
    const char *path = run->model->files[file].path;
    size_t bytes = strlen(path);
    for (uint32_t i = 0; i < SIM_ENTRIES_MAX; i++) {
        const char *entry = run->sim->entries[i].path;
        /* Sidecars begin with the home's name, in its directory or in the one for logs. */
        if (run->sim->entries[i].used && strcmp(entry, path) != 0 &&
            strncmp(entry + 2, path + 2, bytes - 2) == 0)
            return true;
    }
    return sim_find(run->sim, path) == SIM_NONE;
}

/* A home that nobody has open, and that has no log, is an ordinary file: what is synced to it now
 * must stay, whatever of nvmmio's a power loss brings back. */
void run_foreign(struct run *run, struct sim_process *process, const struct op *op)
{
    if (op->other >= run->program->files)
        return;
    struct model_file *file = &run->model->files[op->other];
    struct allowed_file *allowed = &run->model->now.files[op->other];
    struct content content = {.data = NULL};
    process->die_at = 0; /* it is another program */
    if (file->members || file->suspect || file->poisoned || has_log(run, op->other))
        return;
    content_copy(&content, &file->states[model_visible(file)]);
    uint8_t *data = run_buffer(run, op->bytes + 1);
    content_fill(data, op->bytes, op->seed, &content, op->offset);
    if (op->number > 1)
        content_write(&content, data, op->bytes, op->offset);
    else
        content_truncate(&content, op->number ? content.bytes + op->bytes : op->offset);
    uint32_t state = model_state(run->model, op->other, &content);
    if (state < MODEL_STATES) {
        allowed->states |= UINT64_C(1) << state;
        allowed->torn = true;
        run_note(run);
        run_write_file(run, process, file->path, &content);
        file->visible = UINT64_C(1) << state;
        *allowed = (struct allowed_file){.states = file->visible, .absent = allowed->absent};
    }
    content_free(&content);
}
