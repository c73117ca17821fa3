/* Runs a fuzz target over inputs that are kept: FILE or FOLDER ... */
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"

static int replay(const char *path)
{
    FILE *file = fopen(path, "re");
    long size = file && fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    uint8_t *bytes = size >= 0 ? malloc((size_t)size + 1) : NULL;
    if (!bytes || fseek(file, 0, SEEK_SET) != 0 ||
        fread(bytes, 1, (size_t)size, file) != (size_t)size) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    fclose(file);
    /* told first, so that it stands above what a sanitizer says of it */
    fprintf(stderr, "%s\n", path);
    LLVMFuzzerTestOneInput(bytes, (size_t)size);
    free(bytes);
    return 1;
}

static int replay_all(const char *path)
{
    struct stat about;
    struct dirent **entries;
    if (stat(path, &about) != 0 || !S_ISDIR(about.st_mode))
        return replay(path);
    int count = scandir(path, &entries, NULL, alphasort), inputs = 0;
    for (int i = 0; i < count; i++) {
        char name[PATH_MAX];
        if (*entries[i]->d_name != '.' &&
            (size_t)snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name) < sizeof name)
            inputs += replay_all(name);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    return inputs;
}

int main(int argc, char **argv)
{
    int inputs = 0;
    for (int i = 1; i < argc; i++)
        inputs += replay_all(argv[i]);
    printf("%s: %d inputs\n", argv[0], inputs);
    return inputs > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
