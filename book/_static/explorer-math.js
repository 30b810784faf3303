// The mathematics of the explorers, as in ddpm_lesson: tables of length T + 1, read at the lecture's own t = 0..T.
// Plain functions over arrays. tests/test_book_explorers.py holds each of them to the package.
(function (root) {
  "use strict";

  // Where the pictures start: digits 0 and 1 of scikit-learn's 8 x 8 digits, as 0..16, and the lessons' mixture.
  const DIGITS = [
    [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0, 0, 3, 15, 2, 0, 11, 8, 0, 0, 4, 12, 0, 0, 8, 8, 0,
     0, 5, 8, 0, 0, 9, 8, 0, 0, 4, 11, 0, 1, 12, 7, 0, 0, 2, 14, 5, 10, 12, 0, 0, 0, 0, 6, 13, 10, 0, 0, 0],
    [0, 0, 0, 12, 13, 5, 0, 0, 0, 0, 0, 11, 16, 9, 0, 0, 0, 0, 3, 15, 16, 6, 0, 0, 0, 7, 15, 16, 16, 2, 0, 0,
     0, 0, 1, 16, 16, 3, 0, 0, 0, 0, 1, 16, 16, 6, 0, 0, 0, 0, 1, 16, 16, 6, 0, 0, 0, 0, 0, 11, 16, 10, 0, 0],
  ].map(digit => digit.map(value => value / 8 - 1));
  const MIXTURE = {weights: [0.3, 0.7], means: [-1.479, 0.634], std: 0.25};

  // The tables of a schedule from beta_1..beta_T. Throws where alpha_bar stops decreasing, as the package does.
  function tables(betas) {
    const T = betas.length;
    const s = {T, beta: [0, ...betas], alpha: [1], alpha_bar: [1], beta_tilde: [0], snr: [Infinity]};
    for (let t = 1; t <= T; t++) {
      s.alpha[t] = 1 - s.beta[t];
      s.alpha_bar[t] = s.alpha_bar[t - 1] * s.alpha[t];
      if (!(s.alpha_bar[t] < s.alpha_bar[t - 1])) {
        throw new RangeError(`ᾱ_${t} = ${general(s.alpha_bar[t], 6)} equals ᾱ_${t - 1} (β too small, or T too long)`);
      }
      s.beta_tilde[t] = (1 - s.alpha_bar[t - 1]) / (1 - s.alpha_bar[t]) * s.beta[t];
      s.snr[t] = s.alpha_bar[t] / (1 - s.alpha_bar[t]);
    }
    return s;
  }

  // n values in equal steps, both ends attained.
  function linspace(first, last, n) {
    return Array.from({length: n}, (_, i) => n === 1 ? first : first + (last - first) * i / (n - 1));
  }

  // A schedule by its kind; ends: {T, beta_1, beta_T, s}, of which each kind takes its own.
  function schedule(kind, {T, beta_1, beta_T, s}) {
    if (kind === "linear") return tables(linspace(beta_1, beta_T, T));
    if (kind === "quadratic") return tables(linspace(Math.sqrt(beta_1), Math.sqrt(beta_T), T).map(root => root * root));
    if (kind === "constant") return tables(Array(T).fill(beta_T));
    const f = t => Math.cos((t / T + s) / (1 + s) * Math.PI / 2) ** 2;
    return tables(Array.from({length: T}, (_, i) => Math.min(1 - f(i + 1) / f(i), 0.999)));
  }

  // KL(q(x_T | x_0) || N(0, I)) in nats for one image.
  function terminalKl(s, image) {
    const left = s.alpha_bar[s.T], d = image.length;
    const square = image.reduce((sum, value) => sum + value * value, 0);
    return (left * (square - d) - d * Math.log1p(-left)) / 2;
  }

  // One step of the chain, and the jump from x_0 to x_t, with the noise given.
  function step(previous, t, s, noise) {
    return previous.map((x, i) => Math.sqrt(1 - s.beta[t]) * x + Math.sqrt(s.beta[t]) * noise[i]);
  }
  function jump(x0, t, s, noise) {
    return x0.map((x, i) => Math.sqrt(s.alpha_bar[t]) * x + Math.sqrt(1 - s.alpha_bar[t]) * noise[i]);
  }

  function normal(x, mean, variance) {
    return Math.exp(-((x - mean) ** 2) / (2 * variance)) / Math.sqrt(2 * Math.PI * variance);
  }

  // The exact density of x_t where x_0 is the mixture.
  function density(x, t, s) {
    const keep = s.alpha_bar[t], variance = keep * MIXTURE.std ** 2 + 1 - keep;
    return MIXTURE.weights.reduce((p, w, k) => p + w * normal(x, Math.sqrt(keep) * MIXTURE.means[k], variance), 0);
  }

  // Mean and variance of q(x_{t-1} | x_t, x_0), and the weights of x_t and x_0 in the mean.
  function posterior(xt, x0, t, s) {
    const noise = 1 - s.alpha_bar[t];
    const weight_xt = Math.sqrt(s.alpha[t]) * (1 - s.alpha_bar[t - 1]) / noise;
    const weight_x0 = Math.sqrt(s.alpha_bar[t - 1]) * (1 - s.alpha[t]) / noise;
    return {mean: weight_xt * xt + weight_x0 * x0, variance: s.beta_tilde[t], weight_xt, weight_x0};
  }

  // n standard normal numbers, the same for the same seed (mulberry32, then Box and Muller).
  function normals(seed, n) {
    let state = (seed * 2654435761 + 1) >>> 0;
    function uniform() {
      state = (state + 0x6d2b79f5) >>> 0;
      let r = Math.imul(state ^ (state >>> 15), state | 1);
      r ^= r + Math.imul(r ^ (r >>> 7), r | 61);
      return ((r ^ (r >>> 14)) >>> 0) / 4294967296;
    }
    return Array.from({length: n}, () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()));
  }

  // A number with so many significant digits, written as Python's format(x, ".3g") does.
  function general(x, digits) {
    if (!Number.isFinite(x)) return String(x).replace("Infinity", "inf").replace("NaN", "nan");
    if (x === 0) return "0";
    const exponent = Number(x.toExponential(digits - 1).split("e")[1]);
    if (exponent >= -4 && exponent < digits) return String(Number(x.toPrecision(digits)));
    return scientific(Number(x.toPrecision(digits)), null);
  }

  // A number with an exponent of at least two digits, as Python writes it.
  function scientific(x, digits) {
    const [mantissa, exponent] = (digits === null ? x.toExponential() : x.toExponential(digits)).split("e");
    return `${mantissa}e${exponent[0]}${exponent.slice(1).padStart(2, "0")}`;
  }

  // What the explorers with a schedule read out (HTML), as widgets._at_t says it.
  function atT(t, s, image) {
    const nats = terminalKl(s, image), left = s.alpha_bar[s.T];
    let text = `t = ${t}: &nbsp; ᾱ_t = ${s.alpha_bar[t].toFixed(4)} &nbsp; SNR = ${general(s.snr[t], 3)} &nbsp; | &nbsp; `
      + `T = ${s.T}: &nbsp; ᾱ_T = ${scientific(left, 2)} &nbsp; `
      + `KL(q(x_T|x_0) ‖ N(0, I)) = ${general(nats, 3)} nats for this image`;
    if (nats > 0.01 * image.length) {
      text += `<br><b>The prior is missed:</b> ${(100 * left).toFixed(1)}% of the signal's power is still in x_T. `
        + "Sampling from N(0, I) would start from the wrong law.";
    }
    return text;
  }

  // What the posterior explorer reads out (HTML).
  function atPosterior(t, x0, xt, s) {
    const p = posterior(xt, x0, t, s), point = t === 1 ? " At t = 1 the posterior is the point x_0." : "";
    return `μ̃ = ${p.weight_xt.toFixed(3)} · x_t + ${p.weight_x0.toFixed(3)} · x_0 = ${p.mean.toFixed(3)} (the weights sum `
      + `to ${(p.weight_xt + p.weight_x0).toFixed(3)}) &nbsp; β̃ = ${p.variance.toFixed(4)} &nbsp; `
      + `β = ${s.beta[t].toFixed(4)}.${point}`;
  }

  root.explorerMath = {DIGITS, MIXTURE, tables, linspace, schedule, terminalKl, step, jump, normal, density, posterior,
    normals, general, scientific, atT, atPosterior};
  if (typeof module !== "undefined") module.exports = root.explorerMath;
})(typeof window === "undefined" ? globalThis : window);
