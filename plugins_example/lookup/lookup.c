/* lookup: sums what the application's own function app.lookup gives for a range of keys; it can reach nothing else of the application. */

__attribute__((import_module("app"), import_name("lookup"))) long long lookup(int key);

/* The sum of app.lookup(key) for count keys from first on; an exception in app.lookup ends the call. */
__attribute__((export_name("sum"))) long long sum(int first, int count)
{
    long long total = 0;
    for (int i = 0; i < count; i++)
        total += lookup(first + i);
    return total;
}
