/* Opens a file a million times without closing it, then opens and closes one a thousand times, and says how often it worked. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(void)
{
    int opened = 0, refused = 0, other = 0, last = -1;
    for (int i = 0; i < 1000000; i++) {
        int fd = open("/data/file", O_RDONLY);
        if (fd >= 0)
            last = fd, opened++;
        else if (errno == EMFILE)
            refused++;
        else
            other++;
    }
    close(last);
    int again = 0;
    for (int i = 0; i < 1000; i++) {
        int fd = open("/data/file", O_RDONLY);
        again += fd == last;
        close(fd);
    }
    printf("opened %d, refused %d, other %d, again %d\n", opened, refused, other, again);
    return 0;
}
