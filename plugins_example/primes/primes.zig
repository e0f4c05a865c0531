//! primes: counts primes and finds the n-th one, by trial division with the primes below; imports nothing.

var found: [4096]u32 = undefined;

fn isPrime(candidate: u32, primes: []const u32) bool {
    for (primes) |prime| {
        if (prime * prime > candidate) return true;
        if (candidate % prime == 0) return false;
    }
    return true;
}

/// How many primes are below n. Traps (unreachable) where there are more than 4,096 (from n = 38,892 on).
export fn count_primes(n: i32) i32 {
    var count: usize = 0;
    var candidate: u32 = 2;
    while (@as(i64, candidate) < n) : (candidate += 1) {
        if (isPrime(candidate, found[0..count])) {
            if (count == found.len) @trap();
            found[count] = candidate;
            count += 1;
        }
    }
    return @intCast(count);
}

/// The n-th prime, counted from 1: nth_prime(1) = 2. Traps where n is not in 1..4096.
export fn nth_prime(n: i32) i32 {
    if (n < 1 or n > found.len) @trap();
    var count: usize = 0;
    var candidate: u32 = 2;
    while (true) : (candidate += 1) {
        if (isPrime(candidate, found[0..count])) {
            found[count] = candidate;
            count += 1;
            if (count == n) return @intCast(candidate);
        }
    }
}
