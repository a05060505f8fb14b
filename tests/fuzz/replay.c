/* replay: a fuzz target over the files of its corpus, in the place of libFuzzer. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"

static unsigned replay(const char *path)
{
    struct fuzz_file file = fuzz_read(path);

    if (!file.content)
        fuzz_fail("cannot read %s", path);
    (void)LLVMFuzzerTestOneInput(file.content, file.bytes);
    free(file.content);
    return 1;
}

int main(int argc, char **argv)
{
    unsigned count = 0;

    (void)LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++)
        count += replay(argv[i]);
    printf("%u inputs\n", count);
    return count ? 0 : 1;
}
