"""Programs that nobody here wrote, built for WASI by others: fetched by `make real`, run through the command line."""
