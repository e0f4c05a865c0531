/* wordcount: a WASI command that reads stdin and prints its lines, words and bytes; exit code 1 for an empty input. */
#include <ctype.h>
#include <stdio.h>

int main(void)
{
    unsigned long lines = 0, words = 0, bytes = 0;
    int c, inside = 0;
    while ((c = getchar()) != EOF) {
        bytes++;
        lines += c == '\n';
        words += !inside && !isspace(c);
        inside = !isspace(c);
    }
    printf("%lu lines, %lu words, %lu bytes\n", lines, words, bytes);
    return bytes == 0;
}
