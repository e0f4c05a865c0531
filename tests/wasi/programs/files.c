/* A program that uses what a C library makes of WASI, and says what it found: one line a step, compared by test_programs.py. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void say(const char *what, long result)
{
    if (result < 0)
        printf("%s: %s\n", what, strerror(errno));
    else
        printf("%s: %ld\n", what, result);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void list(const char *path)
{
    char *names[64];
    int count = 0;
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && (entry = readdir(directory)) && count < 64;)
        names[count++] = strdup(entry->d_name);
    if (directory)
        closedir(directory);
    qsort(names, (size_t)count, sizeof *names, by_name);
    printf("%s:", path);
    for (int i = 0; i < count; i++)
        printf(" %s", names[i]);
    printf("\n");
}

static void files(void)
{
    char buffer[64] = {0};
    FILE *file = fopen("/data/text", "w+");
    fprintf(file, "line %d\n", 1);
    fseek(file, 0, SEEK_END);
    say("ftell", ftell(file));
    rewind(file);
    printf("fgets: %s", fgets(buffer, sizeof buffer, file));
    fclose(file);
    int fd = open("/data/text", O_RDWR);
    say("pwrite", pwrite(fd, "LINE", 4, 0));
    say("pread", pread(fd, buffer, 4, 2));
    say("ftruncate", ftruncate(fd, 5));
    say("lseek", (long)lseek(fd, 0, SEEK_END));
    close(fd);
    fd = open("/data/text", O_WRONLY | O_APPEND);
    say("append", write(fd, "!", 1));
    close(fd);
    struct stat st;
    say("stat", stat("/data/text", &st));
    printf("size %lld, regular %d\n", (long long)st.st_size, S_ISREG(st.st_mode));
    say("exclusive", open("/data/text", O_CREAT | O_EXCL | O_WRONLY));
}

static void names(void)
{
    char buffer[64] = {0};
    say("mkdir", mkdir("/data/dir", 0777));
    say("rename", rename("/data/text", "/data/dir/text"));
    say("link", link("/data/dir/text", "/data/dir/second"));
    say("symlink", symlink("dir/text", "/data/soft"));
    say("readlink", readlink("/data/soft", buffer, sizeof buffer));
    struct timespec times[2] = {{1000000000, 0}, {1000000001, 0}};
    struct stat st;
    say("utimensat", utimensat(AT_FDCWD, "/data/soft", times, 0));
    say("stat", stat("/data/soft", &st));
    printf("mtime %lld, links %d\n", (long long)st.st_mtim.tv_sec, (int)st.st_nlink);
    list("/data");
    list("/data/dir");
    say("rmdir", rmdir("/data/dir"));
    say("unlink", unlink("/data/dir/text") | unlink("/data/dir/second") | unlink("/data/soft"));
    say("rmdir", rmdir("/data/dir"));
    list("/data");
}

static void escapes(void)
{
    static const char *const paths[] = {"/data/../secret", "/secret", "../secret", "/data/out", "/data/absolute", "/data/up/secret", "/etc/passwd"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        int fd = open(paths[i], O_RDONLY);
        printf("%s: %s\n", paths[i], fd >= 0 ? "ESCAPED" : "refused");
    }
}

static void read_only(void)
{
    say("read-only: read", open("/read/file", O_RDONLY) >= 0);
    say("read-only: create", open("/read/new", O_CREAT | O_WRONLY, 0666));
    say("read-only: truncate", open("/read/file", O_TRUNC | O_WRONLY));
    say("read-only: unlink", unlink("/read/file"));
    say("read-only: rename", rename("/read/file", "/data/file"));
    say("read-only: link", link("/read/file", "/data/file"));
    say("read-only: write", write(open("/read/file", O_RDWR), "x", 1));
}

int main(int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        printf("argument %s\n", argv[i]);
    printf("variable %s\n", getenv("NAME"));
    files();
    names();
    escapes();
    read_only();
    char line[64];
    while (fgets(line, sizeof line, stdin))
        printf("input %s", line);
    struct pollfd polled = {.fd = 0, .events = POLLIN};
    say("poll", poll(&polled, 1, 10));
    struct timespec hour = {3600, 0}, before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    say("nanosleep", nanosleep(&hour, NULL));
    clock_gettime(CLOCK_MONOTONIC, &after);
    printf("slept %lld\n", (long long)(after.tv_sec - before.tv_sec));
    unsigned char random[4];
    say("getentropy", getentropy(random, sizeof random));
    printf("random %02x%02x%02x%02x\n", random[0], random[1], random[2], random[3]);
    printf("terminal %d%d%d\n", isatty(0), isatty(1), isatty(2));
    return 7;
}
