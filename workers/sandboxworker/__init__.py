"""The worker side: the engine over the native core, and the worker and compile processes. Imports nothing by itself."""
