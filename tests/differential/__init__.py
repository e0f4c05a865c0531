"""Random valid programs run on our engine and on a second one; any difference is a bug in one of them."""
