/* files: a WASI command that lists the directory named by its argument, sorted, and writes the list to report.txt in it. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_ENTRIES = 256, MAX_PATH = 1024 };

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int fail(const char *what)
{
    perror(what);
    return 1;
}

int main(int argc, char **argv)
{
    static char *names[MAX_ENTRIES];
    char path[MAX_PATH];
    size_t count = 0;
    if (argc != 2) {
        fputs("usage: files DIRECTORY\n", stderr);
        return 2;
    }
    DIR *directory = opendir(argv[1]);
    if (!directory)
        return fail(argv[1]);
    for (struct dirent *entry; count < MAX_ENTRIES && (entry = readdir(directory));)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..") && strcmp(entry->d_name, "report.txt"))
            names[count++] = strdup(entry->d_name);
    closedir(directory);
    qsort(names, count, sizeof *names, by_name);
    snprintf(path, sizeof path, "%s/report.txt", argv[1]);
    FILE *report = fopen(path, "w");
    if (!report)
        return fail(path);
    for (size_t i = 0; i < count; i++) {
        struct stat status;
        snprintf(path, sizeof path, "%s/%s", argv[1], names[i]);
        if (stat(path, &status))
            return fail(path);
        if (S_ISDIR(status.st_mode))
            snprintf(path, sizeof path, "%s/\n", names[i]);
        else
            snprintf(path, sizeof path, "%s %lld bytes\n", names[i], (long long)status.st_size);
        fputs(path, stdout);
        fputs(path, report);
    }
    if (fclose(report))
        return fail("report.txt");
    printf("%zu entries, report written\n", count);
    return 0;
}
