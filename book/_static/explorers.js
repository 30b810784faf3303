// The explorers of the site: their controls are in the page, and what they show is drawn here.
(function () {
  "use strict";
  const M = window.explorerMath, {Picture} = window.explorerPlot;
  const GRID = M.linspace(-4, 4, 401);
  const steps = T => Array.from({length: T}, (_, i) => i + 1);
  const ticksOf = T => [0, 0.25, 0.5, 0.75, 1].map(share => Math.round(share * T)).filter((t, i, all) => all.indexOf(t) === i);
  const narrow = canvas => canvas.clientWidth < 560;
  const UNIT = {low: -0.02, high: 1.02, ticks: [0, 0.5, 1]};
  const DENSITY = {low: -0.15, high: 1.25, ticks: [0, 0.5, 1]};
  const WIDE = {low: -4, high: 4, ticks: [-4, -2, 0, 2, 4]};

  // Lesson 03. Six panels: four tables of one or two schedules, an image and the mixture at t.
  const schedule = {
    state(values) {
      const made = M.schedule(values.kind, values);
      return {...values, made, other: values.versus === "nothing" ? made : M.schedule(values.versus, values)};
    },
    follow(form) {  // t ends where the chain ends
      form.elements.t.max = form.elements.T.value;
    },
    draw(canvas, {made, other, t}) {
      const picture = narrow(canvas) ? new Picture(canvas, 2, 3) : new Picture(canvas, 3, 2);
      const x = {low: 0, high: made.T, ticks: ticksOf(made.T)}, all = steps(made.T);
      const tables = [
        ["βₜ: noise of one step", s => s.beta, {low: 1e-5, high: 1.5, log: true, ticks: [1e-5, 1e-3, 1e-1]}],
        ["ᾱₜ: signal left", s => s.alpha_bar, UNIT],
        ["signal-to-noise ratio", s => s.snr, {low: 1e-6, high: 1e5, log: true, ticks: [1e-6, 1e-3, 1, 1e3]}],
        ["posterior std √β̃ₜ", s => s.beta_tilde.map(Math.sqrt), UNIT],
      ];
      tables.forEach(([title, table, y], k) => {
        const panel = picture.panel(k, {title, x, y, xlabel: "t"});
        if (other !== made) panel.line(all, table(other).slice(1), "noised", {dash: "dashed"});
        panel.line(all, table(made).slice(1), "data");
        panel.points([t], [table(made)[t]]);
      });
      picture.panel(4, {title: "an image at t"}).image(M.jump(M.DIGITS[1], t, made, M.normals(7, 64)));
      const panel = picture.panel(5, {title: "the mixture at t", x: WIDE, y: {...DENSITY, low: 0}, xlabel: "xₜ"});
      panel.line(GRID, GRID.map(point => M.density(point, t, made)), "noised");
    },
    read: ({made, t}) => M.atT(t, made, M.DIGITS[1]),
  };

  // Lesson 02. An image and 400 points of the mixture at any t, walked there or in one jump.
  const line = M.tables(M.linspace(0.001, 0.2, 100));
  const start = M.DIGITS[0].concat(M.normals(100, 400).map((noise, i) =>
    M.MIXTURE.means[i % 10 < 3 ? 0 : 1] + M.MIXTURE.std * noise));
  const walked = {};
  function states(seed, way) {
    const key = `${seed} ${way}`;
    if (!walked[key]) {
      const noise = M.normals(1000 + seed, start.length * (way === "chain" ? line.T : 1));
      const rows = [start];
      for (let t = 1; t <= line.T; t++) {
        rows[t] = way === "chain"
          ? M.step(rows[t - 1], t, line, noise.slice((t - 1) * start.length, t * start.length))
          : M.jump(start, t, line, noise);
      }
      walked[key] = rows;
    }
    return walked[key];
  }
  const forward = {
    state: values => values,
    draw(canvas, {t, seed, way}) {
      const rows = states(seed, way), picture = narrow(canvas) ? new Picture(canvas, 2, 2) : new Picture(canvas, 3, 1);
      picture.panel(0, {title: "x₀"}).image(rows[0].slice(0, 64));
      picture.panel(1, {title: "xₜ"}).image(rows[t].slice(0, 64));
      if (picture.columns === 2) picture.columns = 1;
      const title = "exact density, and points";
      const panel = picture.panel(picture.columns === 1 ? 1 : 2, {title, x: WIDE, y: DENSITY, xlabel: "xₜ"});
      panel.line(GRID, GRID.map(point => M.density(point, t, line)), "noised");
      panel.points(rows[t].slice(64), M.linspace(-0.03, -0.12, 400), {radius: 1.3});
    },
    read: ({t}) => M.atT(t, line, M.DIGITS[0]),
  };

  // Lesson 05. Bayes' rule for x_{t-1}, the weights of the mean, and the variances.
  const toy = M.tables(steps(10).map(s => 0.05 * s));
  const posterior = {
    state: values => values,
    draw(canvas, {t, x0, xt}) {
      const small = narrow(canvas), picture = small ? new Picture(canvas, 1, 2) : new Picture(canvas, 2, 1);
      const p = M.posterior(xt, x0, t, toy), before = toy.alpha_bar[t - 1], now = toy.alpha_bar[t];
      const curve = (mean, variance) => GRID.map(x => variance > 0 ? M.normal(x, mean(x), variance) : NaN);
      const main = picture.panel(0, {title: "Bayes' rule at t", x: WIDE, y: {low: 0, high: 3, ticks: [0, 1, 2, 3]},
        xlabel: "xₜ₋₁"});
      const height = M.normal(xt, Math.sqrt(now) * x0, 1 - now);
      const looks = {data: {}, noised: {}, prior: {width: 6, alpha: 0.4}, posterior: {dash: "dotted", width: 2.5}};
      main.line(GRID, curve(() => Math.sqrt(before) * x0, 1 - before), "data", looks.data);
      main.line(GRID, GRID.map(x => M.normal(xt, Math.sqrt(toy.alpha[t]) * x, toy.beta[t])), "noised", looks.noised);
      main.line(GRID, GRID.map(() => height), "prior", looks.prior);
      main.line(GRID, curve(() => p.mean, p.variance), "posterior", looks.posterior);
      main.line([p.mean, p.mean], [0, 0.12], "posterior", {width: 4});
      main.legend([["q(xₜ₋₁ | x₀)", "data", looks.data], ["q(xₜ | xₜ₋₁)", "noised", looks.noised],
        ["q(xₜ | x₀)", "prior", looks.prior], ["posterior", "posterior", looks.posterior]]);
      const x = {low: 0.5, high: 10.5, ticks: [2, 4, 6, 8, 10]}, all = steps(10);
      const weights = all.map(s => M.posterior(0, 0, s, toy));
      picture.columns *= 2;
      const first = 2, pair = (k, title, y, upper, lower, names, role, dash) => {
        const panel = picture.panel(k, {title, x, y, xlabel: "t"});
        panel.line(all, upper, "noised");
        panel.line(all, lower, role, {dash});
        panel.points([t, t], [upper[t - 1], lower[t - 1]]);
        panel.legend([[names[0], "noised"], [names[1], role, {dash}]], k === first ? "right" : "left");
      };
      pair(first, "weights of the mean", UNIT, weights.map(w => w.weight_xt), weights.map(w => w.weight_x0),
        ["of xₜ", "of x₀"], "data", "dashed");
      pair(first + 1, "variances", {low: 0, high: 0.55, ticks: [0, 0.2, 0.4]}, toy.beta.slice(1),
        toy.beta_tilde.slice(1), ["βₜ", "β̃ₜ"], "posterior", "dotted");
    },
    read: ({t, x0, xt}) => M.atPosterior(t, x0, xt, toy),
  };

  const EXPLORERS = {schedule, forward, posterior};

  // HTML with x_t written as x with a lowered t, as explorers.py writes it.
  const lowered = text => text.replace(/_([\p{L}\p{N}]+)/gu, "<sub>$1</sub>");

  // What the controls say: numbers by name, powers of ten for the sliders that move an exponent.
  function valuesOf(form) {
    const values = {};
    for (const control of form.elements) {
      if (!control.name) continue;
      const number = Number(control.value);
      values[control.name] = control.type !== "range" ? control.value : "power" in control.dataset ? 10 ** number : number;
    }
    return values;
  }

  // The number beside each slider. It is an attribute as well, so that a screen reader says it and not the exponent.
  function showValues(form, values) {
    for (const output of form.querySelectorAll("output")) {
      const slider = form.elements[output.htmlFor.value];
      const power = "power" in slider.dataset, value = values[slider.name];
      output.value = power ? M.scientific(value, 1) : Number.isInteger(Number(slider.step)) ? value
        : value.toFixed(slider.step.split(".")[1].length);
      slider.setAttribute("aria-valuetext", output.value);
    }
  }

  function begin(form) {
    const explorer = EXPLORERS[form.dataset.explorer], canvas = form.querySelector("canvas");
    const readout = form.querySelector(".readout");
    let last = null;
    function update() {
      if (explorer.follow) explorer.follow(form);
      const values = valuesOf(form);
      showValues(form, values);
      try {
        last = explorer.state(values);
        readout.innerHTML = lowered(explorer.read(last));
      } catch (error) {
        readout.innerHTML = `<b>No such schedule:</b> ${lowered(error.message)} (the picture shows the last position)`;
      }
      paint();
    }
    function paint() {
      if (last) explorer.draw(canvas, last);
    }
    form.addEventListener("input", update);
    form.addEventListener("reset", () => {
      if (explorer.follow) form.elements.t.max = 1000;
      setTimeout(update);
    });
    form.addEventListener("submit", event => event.preventDefault());
    new ResizeObserver(paint).observe(canvas);
    new MutationObserver(paint).observe(document.body, {attributes: true, attributeFilter: ["data-theme"]});
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
    update();
  }

  document.querySelectorAll("form.explorer").forEach(begin);
})();
