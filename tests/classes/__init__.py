"""Bug classes that hit other runtimes: table.py says which test here would catch each of them."""
