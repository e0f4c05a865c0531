/* Runs a fuzz target on files, without libFuzzer: `target FILE...`. Whoever survives prints how many there were. */
#include <stdio.h>
#include <stdlib.h>
#include "mutator.h"

#pragma weak LLVMFuzzerInitialize /* the image target has none */

int main(int argc, char **argv)
{
    if (LLVMFuzzerInitialize)
        LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        uint8_t *bytes = malloc(1 << 24);
        if (!file || !bytes) {
            perror(argv[i]);
            return 2;
        }
        size_t size = fread(bytes, 1, 1 << 24, file);
        fclose(file);
        fprintf(stderr, "%s: %zu bytes\n", argv[i], size);
        uint8_t *exact = malloc(size + !size); /* so that a sanitizer sees one byte too many */
        for (size_t k = 0; exact && k < size; k++)
            exact[k] = bytes[k];
        free(bytes);
        LLVMFuzzerTestOneInput(exact, size);
        free(exact);
    }
    printf("%d inputs\n", argc - 1);
    return 0;
}
