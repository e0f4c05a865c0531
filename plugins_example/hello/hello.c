/* hello: a WASI command that greets, and shows which arguments and environment it was given. */
#include <stdio.h>

extern char **environ;

int main(int argc, char **argv)
{
    puts("Hello from a sandbox!");
    for (int i = 1; i < argc; i++)
        printf("argument %d: %s\n", i, argv[i]);
    for (char **entry = environ; *entry; entry++)
        printf("environment: %s\n", *entry);
    return 0;
}
