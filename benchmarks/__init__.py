"""Side-by-side measurements of sandboxhost and its peers; `python -m benchmarks` runs them."""
