// Pictures on a canvas: panels with axes, lines, points and images, in the colours of the page.
(function (root) {
  "use strict";

  const ROLES = {data: "#0072B2", noised: "#E69F00", prior: "#7F7F7F", model: "#D55E00", posterior: "#009E73"};
  const DARK = {data: "#56B4E9", noised: "#E69F00", prior: "#9A9A9A", model: "#FF8A3D", posterior: "#2FCB9F"};
  const DASHES = {solid: [], dashed: [7, 4], dotted: [2, 3]};
  const LEFT = 40, RIGHT = 17, TOP = 26, BOTTOM = 34;

  // The canvas sized to its place and cleared. The grid has as many columns as fit.
  class Picture {
    constructor(canvas, columns, rows) {
      const style = getComputedStyle(canvas), scale = window.devicePixelRatio || 1;
      this.width = canvas.clientWidth;
      this.height = canvas.clientHeight;
      if (canvas.width !== Math.round(this.width * scale)) canvas.width = Math.round(this.width * scale);
      if (canvas.height !== Math.round(this.height * scale)) canvas.height = Math.round(this.height * scale);
      this.pen = canvas.getContext("2d");
      this.pen.setTransform(scale, 0, 0, scale, 0, 0);
      this.pen.clearRect(0, 0, this.width, this.height);
      this.ink = style.color;
      this.font = style.fontFamily;
      this.paper = style.backgroundColor;
      this.dark = isDark();
      this.columns = columns;
      this.rows = rows;
    }

    colour(role) {
      return (this.dark ? DARK : ROLES)[role] || this.ink;
    }

    panel(index, options) {
      return new Panel(this, index, options);
    }
  }

  function isDark() {
    const theme = document.body.dataset.theme;
    return theme === "dark" || (theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  }

  // One panel; x and y: {low, high, log, ticks}. Without x it is a frame for an image.
  class Panel {
    constructor(picture, index, {title, x, y, xlabel}) {
      const {pen} = picture, width = picture.width / picture.columns, height = picture.height / picture.rows;
      Object.assign(this, {picture, pen, x, y});
      this.left = (index % picture.columns) * width + (x ? LEFT : RIGHT);
      this.right = (index % picture.columns + 1) * width - RIGHT;
      this.top = Math.floor(index / picture.columns) * height + TOP;
      this.bottom = (Math.floor(index / picture.columns) + 1) * height - (x ? BOTTOM : RIGHT);
      pen.fillStyle = picture.ink;
      pen.textBaseline = "alphabetic";
      pen.textAlign = "left";
      pen.font = `600 13px ${picture.font}`;
      pen.fillText(title, this.left, this.top - 9, this.right - this.left);
      if (x) this.axes(xlabel);
    }

    place(axis, value, from, to) {
      const {low, high, log} = axis;
      const share = log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
      return from + share * (to - from);
    }

    across(value) { return this.place(this.x, value, this.left, this.right); }
    up(value) { return this.place(this.y, value, this.bottom, this.top); }

    axes(xlabel) {
      const {pen, picture} = this;
      pen.font = `11px ${picture.font}`;
      pen.lineWidth = 1;
      pen.strokeStyle = picture.ink;
      for (const value of this.x.ticks) {
        const at = Math.round(this.across(value)) + 0.5;
        this.grid(at, this.top, at, this.bottom);
        pen.textAlign = "center";
        pen.fillText(String(value).replace("-", "−"), at, this.bottom + 14);
      }
      for (const value of this.y.ticks) {
        const at = Math.round(this.up(value)) + 0.5;
        this.grid(this.left, at, this.right, at);
        pen.textAlign = "right";
        this.label(value, this.left - 5, at + 4);
      }
      pen.textAlign = "center";
      pen.fillText(xlabel, (this.left + this.right) / 2, this.bottom + 28);
      pen.beginPath();
      pen.moveTo(this.left + 0.5, this.top);
      pen.lineTo(this.left + 0.5, this.bottom + 0.5);
      pen.lineTo(this.right, this.bottom + 0.5);
      pen.stroke();
    }

    // A tick's label; powers of ten as 10 with a raised exponent.
    label(value, x, y) {
      const {pen, picture} = this;
      if (!this.y.log) return pen.fillText(String(value).replace("-", "−"), x, y);
      const exponent = String(Math.round(Math.log10(value))).replace("-", "−");
      pen.font = `8px ${picture.font}`;
      pen.fillText(exponent, x, y - 5);
      const width = pen.measureText(exponent).width;
      pen.font = `11px ${picture.font}`;
      pen.fillText("10", x - width, y);
    }

    grid(x0, y0, x1, y1) {
      const {pen} = this;
      pen.save();
      pen.globalAlpha = 0.14;
      pen.beginPath();
      pen.moveTo(x0, y0);
      pen.lineTo(x1, y1);
      pen.stroke();
      pen.restore();
    }

    inside(draw) {
      const {pen} = this;
      pen.save();
      pen.beginPath();
      pen.rect(this.left, this.top - 2, this.right - this.left + 2, this.bottom - this.top + 3);
      pen.clip();
      draw(pen);
      pen.restore();
    }

    line(xs, ys, role, {dash = "solid", width = 2, alpha = 1} = {}) {
      this.inside(pen => {
        pen.strokeStyle = this.picture.colour(role);
        pen.lineWidth = width;
        pen.globalAlpha = alpha;
        pen.setLineDash(DASHES[dash]);
        pen.lineJoin = "round";
        pen.beginPath();
        let last = null;
        xs.forEach((value, i) => {
          if (!Number.isFinite(ys[i]) || (this.y.log && ys[i] <= 0)) { last = null; return; }
          const x = this.across(value), y = Math.max(Math.min(this.up(ys[i]), 1e5), -1e5);
          if (last === null) pen.moveTo(x, y);
          else if (i < xs.length - 1 && Math.abs(x - last[0]) < 1 && Math.abs(y - last[1]) < 1) return;  // within a pixel
          else pen.lineTo(x, y);
          last = [x, y];
        });
        pen.stroke();
      });
    }

    points(xs, ys, {role = "ink", radius = 4} = {}) {
      this.inside(pen => {
        pen.fillStyle = this.picture.colour(role);
        xs.forEach((x, i) => {
          if (!Number.isFinite(ys[i])) return;
          pen.beginPath();
          pen.arc(this.across(x), this.up(ys[i]), radius, 0, 2 * Math.PI);
          pen.fill();
        });
      });
    }

    // A square grey image of values from -1.5 (black) to 1.5 (white).
    image(values) {
      const {pen} = this, n = Math.round(Math.sqrt(values.length));
      const pixel = Math.floor(Math.min(this.right - this.left, this.bottom - this.top) / n);
      const x = this.left + (this.right - this.left - n * pixel) / 2;
      values.forEach((value, i) => {
        const grey = Math.round(255 * Math.min(Math.max((value + 1.5) / 3, 0), 1));
        pen.fillStyle = `rgb(${grey}, ${grey}, ${grey})`;
        pen.fillRect(Math.round(x) + (i % n) * pixel, this.top + Math.floor(i / n) * pixel, pixel, pixel);
      });
    }

    legend(entries, corner = "left") {
      const {pen, picture} = this;
      pen.font = `12px ${picture.font}`;
      const widest = Math.max(...entries.map(entry => pen.measureText(entry[0]).width));
      const x = corner === "left" ? this.left + 8 : this.right - widest - 32;
      entries.forEach(([words, role, options = {}], i) => {
        const y = this.top + 10 + 17 * i;
        pen.save();
        pen.strokeStyle = picture.colour(role);
        pen.lineWidth = options.width || 2;
        pen.globalAlpha = options.alpha || 1;
        pen.setLineDash(DASHES[options.dash || "solid"]);
        pen.beginPath();
        pen.moveTo(x, y);
        pen.lineTo(x + 24, y);
        pen.stroke();
        pen.restore();
        pen.textAlign = "left";
        pen.fillStyle = picture.ink;
        pen.fillText(words, x + 30, y + 4);
      });
    }
  }

  root.explorerPlot = {Picture};
})(window);
