// statistics: numeric functions in AssemblyScript: a normal distribution, binomial coefficients, the moments of a pseudo-random sample.

/** The number of ways to choose k of n; 0 where there is none. */
export function binomial(n: i32, k: i32): i64 {
  if (k < 0 || k > n) return 0;
  let result: i64 = 1;
  for (let i = 1; i <= k; i++) result = (result * (n - k + i)) / i;
  return result;
}

/** The density of the normal distribution with the given mean and deviation at x. */
export function normal_density(x: f64, mean: f64, deviation: f64): f64 {
  const z = (x - mean) / deviation;
  return Math.exp(-0.5 * z * z) / (deviation * Math.sqrt(2.0 * Math.PI));
}

/** A sample of n numbers in [0, 1), the same in every run. */
function sample(n: i32): Float64Array {
  const values = new Float64Array(n);
  let state: u64 = 42;
  for (let i = 0; i < n; i++) {
    state = state * 6364136223846793005 + 1442695040888963407;
    values[i] = <f64>(state >> 33) / 2147483648.0;
  }
  return values;
}

/** The mean of a sample of n numbers. */
export function sample_mean(n: i32): f64 {
  const values = sample(n);
  let sum: f64 = 0;
  for (let i = 0; i < n; i++) sum += values[i];
  return sum / <f64>n;
}

/** The median of a sample of n numbers. */
export function sample_median(n: i32): f64 {
  const values = sample(n).sort();
  const middle = n / 2;
  return n % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2.0;
}
