// Saliency maps over the picture, drawn on canvases: opacity, colours, scale, linked zoom and linked hover
// happen here, without a request. Streamlit calls the default export for each new payload; what the person
// chose lives on the parent element and survives.

const MAX_ZOOM = 12;

function bytes(text) {
  const raw = atob(text);
  const out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
  return out;
}

// Maps travel as int16 steps of a scale: exact to 1/32767 of their largest value.
function floats(packed) {
  const steps = new Int16Array(bytes(packed.data).buffer);
  return Float32Array.from(steps, (step) => step * packed.step);
}

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node[name] = value;
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  for (const child of children) if (child !== null) node.append(child);
  return node;
}

export default function (component) {
  const { parentElement, data } = component;
  const root = parentElement.querySelector(".kv");
  const viewer = (root.viewer ??= new Viewer(root));
  viewer.update(data);
}

class Viewer {
  constructor(root) {
    this.root = root;
    this.choice = { opacity: 0.8, palette: null, shared: true, lower: "difference", threshold: 0, outline: true };
    this.zoom = { scale: 1, x: 0, y: 0 };
    this.region = null; // that a person drew: first and last row and column
    this.drawing = false; // whether dragging draws a region
    this.usual = null; // the choices of a newcomer
    this.cursor = null;
    this.layout = "";
    this.panels = [];
    this.pending = false;
  }

  update(data) {
    this.data = data;
    const [height, width] = data.size;
    this.width = width;
    this.height = height;
    if (this.region && (this.region.bottom >= height || this.region.right >= width)) this.region = null;
    this.picture = bytes(data.picture);
    this.readStudied(data.region);
    this.models = data.rows.flatMap((row) => row.models).map((model) => ({
      ...model,
      values: floats(model.map),
      error: floats(model.error),
      difference: model.difference && {
        ...model.difference,
        values: floats(model.difference.map),
        error: floats(model.difference.error),
      },
    }));
    if (!this.luts) {
      this.luts = Object.fromEntries(data.palettes.map((one) => [one.name, bytes(one.lut)]));
      this.choice.palette = data.palettes[0].name;
      this.usual = { ...this.choice };
      this.recall();
    }
    // Rebuild the page's elements only when other models or texts come; new masks only repaint.
    const rows = data.rows.map((row) => [row.heading, row.models.map((m) => [m.role, !!m.difference]), row.misfits]);
    const layout = JSON.stringify([rows, data.size, data.texts, !!data.region]);
    if (layout !== this.layout) {
      this.layout = layout;
      this.build();
    }
    this.fill();
    this.paint();
    Object.assign(this.root.dataset, { name: data.name, masks: data.masks }); // for tests and measurements
  }

  build() {
    const { texts } = this.data;
    this.panels = [];
    this.parts = []; // of each model's card
    this.pictures = []; // of each row's picture card
    const rows = this.data.rows.map((row) => this.row(row, texts));
    this.root.replaceChildren(this.toolbar(texts), ...rows);
    this.root.style.setProperty("--ratio", `${this.width} / ${this.height}`);
    this.sizes ??= new ResizeObserver(() => this.paint());
    this.sizes.disconnect();
    this.sizes.observe(this.root);
  }

  // The picture and a card a model; models are numbered through all rows.
  row(row, texts) {
    const cards = [
      this.pictureCard(texts),
      ...row.models.map((model) => this.modelCard(model, this.parts.length, texts)),
      ...row.misfits.map((misfit) => this.misfitCard(misfit, texts)),
    ];
    const heading = row.heading ? element("h3", {}, row.heading) : null;
    return element(
      "section",
      { class: "row", "aria-label": row.heading || null },
      heading,
      element("div", { class: "tiles" }, ...cards),
    );
  }

  toolbar(texts) {
    const { choice } = this;
    const range = (key, name, max) => {
      const output = element("output", {}, `${Math.round(choice[key] * 100)} %`);
      const input = element("input", { type: "range", min: 0, max, step: 1, value: choice[key] * 100, "aria-label": name });
      input.oninput = () => {
        choice[key] = input.value / 100;
        output.textContent = `${input.value} %`;
        this.paint();
      };
      return element("label", {}, element("span", { class: "name" }, name), input, output);
    };
    const palette = element("select", { "aria-label": texts.palette });
    for (const one of this.data.palettes) palette.append(element("option", { value: one.name }, one.title));
    palette.value = choice.palette;
    palette.onchange = () => ((choice.palette = palette.value), this.paint());
    return element(
      "div",
      { class: "bar", role: "group", "aria-label": texts.display },
      range("opacity", texts.opacity, 100),
      range("threshold", texts.threshold, 90),
      element("label", {}, element("span", { class: "name" }, texts.palette), palette),
      this.segments(texts.scale, "shared", [[true, texts.shared], [false, texts.own]]),
      this.segments(texts.lower, "lower", [["difference", texts.difference], ["error", texts.error]]),
      element(
        "span",
        { class: "group" },
        element("span", { class: "name" }, texts.zoom),
        element("button", { type: "button", "aria-label": texts.zoomOut, onclick: () => this.zoomBy(1 / 1.5) }, "−"),
        element("button", { type: "button", "aria-label": texts.zoomIn, onclick: () => this.zoomBy(1.5) }, "+"),
        element("button", { type: "button", onclick: () => this.resetZoom() }, texts.reset),
      ),
      this.regionButtons(texts),
    );
  }

  // The region of the study, if the picture has one: of each pixel the share inside, and its outline in pixels.
  readStudied(region) {
    this.studied = null;
    if (!region) return;
    const path = new Path2D();
    for (const corners of region.outlines) {
      for (let i = 0; i < corners.length; i += 2) path[i ? "lineTo" : "moveTo"](corners[i], corners[i + 1]);
      path.closePath();
    }
    const levels = bytes(region.shares);
    const area = levels.reduce((sum, level) => sum + level, 0) / (255 * levels.length);
    this.studied = { levels, path, area };
  }

  // Outline the region of the study, draw a region over the maps, and how much of each map lies inside.
  regionButtons(texts) {
    const draw = element("button", { type: "button", "aria-pressed": this.drawing, title: texts.regionHelp }, texts.draw);
    const remove = element("button", { type: "button" }, texts.remove);
    this.showRegion = () => {
      draw.setAttribute("aria-pressed", this.drawing);
      remove.style.display = this.region ? "" : "none";
      this.root.classList.toggle("drawing", this.drawing);
    };
    draw.onclick = () => ((this.drawing = !this.drawing), this.showRegion());
    remove.onclick = () => this.setRegion(null);
    this.showRegion();
    const name = element("span", { class: "name" }, texts.region);
    return element("span", { class: "group" }, name, this.outlineBox(texts), draw, remove);
  }

  outlineBox(texts) {
    if (!this.studied) return null;
    const box = element("input", { type: "checkbox" });
    box.checked = this.choice.outline;
    box.onchange = () => ((this.choice.outline = box.checked), this.paint());
    return element("label", {}, box, texts.outline);
  }

  // Set the region between two pixels, or none.
  setRegion(from, to) {
    this.region = from && {
      top: Math.min(from.row, to.row),
      bottom: Math.max(from.row, to.row),
      left: Math.min(from.column, to.column),
      right: Math.max(from.column, to.column),
    };
    this.showRegion();
    this.fill();
    this.paint();
  }

  // Share of the positive saliency inside a region, as kdviz.metrics.localisation.energy_inside; NaN without any.
  energyInside(values, share) {
    let all = 0;
    let inside = 0;
    for (let row = 0; row < this.height; row++) {
      for (let column = 0; column < this.width; column++) {
        const value = Math.max(0, values[row * this.width + column]);
        all += value;
        inside += value * share(row, column);
      }
    }
    return inside / all;
  }

  regionText(values) {
    if (!this.region) return "";
    const { top, bottom, left, right } = this.region;
    const area = ((bottom - top + 1) * (right - left + 1)) / (this.width * this.height);
    const holds = (row, column) => row >= top && row <= bottom && column >= left && column <= right;
    return this.insideText(this.data.texts.inside, this.energyInside(values, holds), area);
  }

  studiedText(values) {
    if (!this.studied) return "";
    const { levels, area } = this.studied;
    const share = (row, column) => levels[row * this.width + column] / 255;
    return this.insideText(this.data.texts.studied, this.energyInside(values, share), area);
  }

  insideText(text, share, area) {
    const percent = (value) => `${(100 * value).toFixed(1)}%`;
    return text.replace("{share}", Number.isFinite(share) ? percent(share) : "–").replace("{area}", percent(area));
  }

  segments(name, key, options) {
    const group = element("span", { class: "seg", role: "group", "aria-label": name });
    const show = () => [...group.children].forEach((b, i) => b.setAttribute("aria-pressed", options[i][0] === this.choice[key]));
    for (const [value, text] of options) {
      const pick = () => ((this.choice[key] = value), show(), this.fill(), this.paint());
      group.append(element("button", { type: "button", onclick: pick }, text));
    }
    show();
    return element("span", { class: "group" }, element("span", { class: "name" }, name), group);
  }

  pictureCard(texts) {
    const legend = element("canvas", { width: 256, height: 1, role: "img", "aria-label": texts.legend });
    const low = element("span");
    const high = element("span");
    const about = element("p", { class: "note" });
    const line = element("span", { class: "line", "aria-hidden": "true" });
    const studied = element("span");
    const key = element("p", { class: "note key" }, line, studied);
    this.pictures.push({ legend, low, high, about, line, studied, key });
    const panel = this.panel(null, "picture");
    return element(
      "section",
      { class: "card", "aria-label": texts.picture },
      element("div", { class: "head" }, texts.picture),
      panel.box,
      element(
        "div",
        { class: "sub" },
        element("div", { class: "legend" }, low, legend, high, element("span", {}, texts.legend)),
        about,
        key,
      ),
    );
  }

  modelCard(model, index, texts) {
    const main = this.panel(index, "map");
    const lower = this.panel(index, "lower");
    const parts = {
      word: element("b"),
      confidence: element("span", { class: "small" }),
      tag: element("span", { class: "tag" }),
      bar: element("i"),
      target: element("div", { class: "small" }),
      studied: element("div", { class: "small" }),
      region: element("div", { class: "small", "aria-live": "polite" }),
      lowerTitle: element("h4"),
      reliability: element("span", { class: "small" }),
      agreement: element("div", { class: "small" }),
      more: element("div", { class: "small" }),
      agreementBar: element("i"),
      ceiling: element("u"),
    };
    parts.lowerBox = lower.box;
    parts.meter = element("div", { class: "meter" }, parts.agreementBar, parts.ceiling);
    parts.alone = element("p", { class: "note" }, texts.isReference);
    this.parts.push(parts);
    return element(
      "section",
      { class: "card", "aria-label": model.title, style: `--role: ${model.colour}` },
      element("div", { class: "head" }, element("span", { class: `mark ${model.symbol}` }), model.title),
      main.box,
      element("div", { class: "pred" }, element("span", {}, parts.word, " ", parts.confidence), parts.tag),
      element("div", { class: "meter" }, parts.bar),
      parts.target,
      parts.studied,
      parts.region,
      element(
        "div",
        { class: "sub" },
        element("div", { class: "title" }, parts.lowerTitle, parts.reliability),
        lower.box,
        parts.alone,
        parts.meter,
        parts.agreement,
        parts.more,
      ),
    );
  }

  // A model that the method does not fit: why.
  misfitCard(misfit, texts) {
    return element(
      "section",
      { class: "card", "aria-label": misfit.title, style: `--role: ${misfit.colour}` },
      element("div", { class: "head" }, element("span", { class: `mark ${misfit.symbol}` }), misfit.title),
      element("div", { class: "misfit" }, element("b", {}, texts.misfit), element("p", {}, misfit.reason)),
    );
  }

  panel(index, kind) {
    const canvas = element("canvas", { tabindex: 0, role: "img", class: `k-${kind}` });
    const read = element("div", { class: "read" });
    const box = element("div", { class: "view" }, canvas, read);
    const panel = { index, kind, canvas, read, box };
    canvas.onpointermove = (event) => this.move(panel, event);
    canvas.onpointerleave = () => ((this.cursor = null), this.paint());
    canvas.onpointerdown = (event) => this.press(panel, event);
    canvas.onpointerup = () => (this.drag = this.corner = null);
    canvas.onpointercancel = canvas.onpointerup;
    canvas.ondblclick = () => this.resetZoom();
    canvas.addEventListener("wheel", (event) => this.wheel(panel, event), { passive: false });
    canvas.onkeydown = (event) => this.key(event);
    this.panels.push(panel);
    return panel;
  }

  // Texts and meters of each card.
  fill() {
    const { texts } = this.data;
    for (const { about, key, studied } of this.pictures) {
      about.textContent = this.data.about;
      studied.textContent = this.data.region?.about ?? "";
      key.style.display = this.studied ? "" : "none";
    }
    this.models.forEach((model, index) => {
      const parts = this.parts[index];
      parts.word.textContent = model.predicted;
      parts.confidence.textContent = model.confidenceText;
      parts.tag.textContent = model.correct === null ? "" : model.correct ? `✓ ${texts.right}` : `✗ ${texts.wrong}`;
      parts.tag.style.display = model.correct === null ? "none" : "";
      parts.tag.classList.toggle("no", model.correct === false);
      parts.bar.style.width = `${model.confidence * 100}%`;
      parts.target.textContent = model.targetText;
      parts.studied.textContent = this.studiedText(model.values);
      parts.region.textContent = this.regionText(model.values);
      const error = this.choice.lower === "error";
      const lower = error ? model.error : model.difference;
      parts.lowerTitle.textContent = error ? texts.errorTitle : model.difference ? texts.differenceTitle : texts.reference;
      parts.reliability.textContent = !error && model.difference ? model.difference.reliabilityText : "";
      parts.lowerBox.style.display = lower ? "" : "none";
      parts.alone.style.display = lower ? "none" : "";
      const agreement = model.agreement;
      parts.meter.style.display = agreement ? "" : "none";
      parts.agreement.textContent = agreement ? agreement.text : model.ceilingText;
      parts.more.textContent = agreement?.more ?? "";
      if (agreement) {
        parts.agreementBar.style.width = `${Math.max(0, agreement.value) * 100}%`;
        parts.ceiling.style.left = `${Math.max(0, agreement.ceiling) * 100}%`;
      }
    });
    for (const panel of this.panels) panel.canvas.setAttribute("aria-label", this.alternative(panel));
  }

  alternative(panel) {
    const { texts, region } = this.data;
    if (panel.index === null) return [texts.picture, region?.alt].filter(Boolean).join("; ");
    const model = this.models[panel.index];
    if (panel.kind === "map") return [model.alt, this.studiedText(model.values)].filter(Boolean).join("; ");
    return `${model.title}: ${this.parts[panel.index].lowerTitle.textContent}`;
  }

  // How the maps are drawn is part of the link to the view, as `view` in the address: written here, without a
  // request; the server only hands it on.
  recall() {
    const text = new URLSearchParams(location.search).get("view") ?? "";
    const said = new Map(text.split(";").map((part) => part.split(":")));
    const share = (name, most) => {
      const value = parseFloat(said.get(name));
      if (value >= 0 && value <= most) this.choice[name] = value;
    };
    share("opacity", 1);
    share("threshold", 0.9);
    if (said.get("palette") in this.luts) this.choice.palette = said.get("palette");
    if (said.get("scale") === "own") this.choice.shared = false;
    if (said.get("lower") === "error") this.choice.lower = "error";
    if (said.get("outline") === "off") this.choice.outline = false;
    const [scale, x, y] = (said.get("zoom") ?? "").split(",").map(parseFloat);
    if (scale > 1 && scale <= MAX_ZOOM && x >= 0 && y >= 0) {
      this.zoom = { scale, x, y };
      this.keepInside();
    }
    const [top, left, bottom, right] = (said.get("region") ?? "").split(",").map((one) => parseInt(one, 10));
    if (top >= 0 && top <= bottom && bottom < this.height && left >= 0 && left <= right && right < this.width) {
      this.region = { top, left, bottom, right };
    }
  }

  remember() {
    clearTimeout(this.later);
    this.later = setTimeout(() => {
      const { choice, zoom, usual } = this;
      const said = [];
      for (const name of ["opacity", "threshold", "palette", "lower"]) if (choice[name] !== usual[name]) said.push(`${name}:${choice[name]}`);
      if (!choice.shared) said.push("scale:own");
      if (!choice.outline) said.push("outline:off");
      if (zoom.scale > 1) said.push(`zoom:${[zoom.scale, zoom.x, zoom.y].map((one) => +one.toFixed(4)).join(",")}`);
      if (this.region) said.push(`region:${["top", "left", "bottom", "right"].map((side) => this.region[side]).join(",")}`);
      const query = new URLSearchParams(location.search);
      if ((query.get("view") ?? "") === said.join(";")) return;
      if (said.length) query.set("view", said.join(";"));
      else query.delete("view");
      const text = query.size ? `?${query}` : "";
      history.replaceState(history.state, "", location.pathname + text + location.hash);
    }, 250);
  }

  // One repaint a frame, however many events come.
  paint() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.draw();
    });
  }

  // Centre and half-width of each colour scale.
  limits() {
    const { shared } = this.choice;
    const { limit } = this.data;
    const largest = (values) => values.reduce((most, value) => Math.max(most, value), 0) || 1e-9;
    return {
      maps: this.models.map((model) => [model.centre, shared ? limit : model.limit]),
      differences: this.models.map((model) => [model.difference?.centre ?? 0, limit]),
      error: [0, Math.max(...this.models.map((model) => largest(model.error)))],
    };
  }

  draw() {
    const limits = this.limits();
    for (const panel of this.panels) {
      const model = panel.index === null ? null : this.models[panel.index];
      let layer = null;
      if (model && panel.kind === "map") layer = [model.values, ...limits.maps[panel.index]];
      else if (model && this.choice.lower === "error") layer = [model.error, ...limits.error];
      else if (model && model.difference) layer = [model.difference.values, ...limits.differences[panel.index]];
      if (!model || layer) this.drawPanel(panel, layer);
    }
    this.drawLegend();
    for (const { line } of this.pictures) line.style.display = this.choice.outline ? "" : "none";
    this.remember();
  }

  drawPanel(panel, layer) {
    const { canvas } = panel;
    const wide = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
    const high = Math.max(1, Math.round((wide * this.height) / this.width));
    if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
    const context = canvas.getContext("2d");
    const small = (panel.small ??= document.createElement("canvas"));
    if (small.width !== this.width || small.height !== this.height) Object.assign(small, { width: this.width, height: this.height });
    small.getContext("2d").putImageData(this.pixels(layer), 0, 0);
    const { scale, x, y } = this.zoom;
    context.imageSmoothingEnabled = this.width > 96;
    context.fillRect(0, 0, wide, high);
    context.drawImage(small, -x * wide * scale, -y * high * scale, wide * scale, high * scale);
    this.drawStudied(context, wide, high);
    this.drawRegion(context, wide, high);
    this.drawCursor(context, wide, high);
    this.readout(panel, layer);
  }

  pixels(layer) {
    const image = new ImageData(this.width, this.height);
    const out = image.data;
    const count = this.width * this.height;
    const channels = this.picture.length / count;
    const lut = this.luts[this.choice.palette];
    const { opacity, threshold } = this.choice;
    for (let i = 0; i < count; i++) {
      const at = i * channels;
      let red = this.picture[at];
      let green = channels === 1 ? red : this.picture[at + 1];
      let blue = channels === 1 ? red : this.picture[at + 2];
      if (layer) {
        const value = (layer[0][i] - layer[1]) / layer[2];
        const entry = 4 * Math.round(127.5 + 127.5 * Math.max(-1, Math.min(1, value)));
        const weight = Math.abs(value) < threshold ? 0 : (opacity * lut[entry + 3]) / 255;
        red += weight * (lut[entry] - red);
        green += weight * (lut[entry + 1] - green);
        blue += weight * (lut[entry + 2] - blue);
      }
      out[4 * i] = red;
      out[4 * i + 1] = green;
      out[4 * i + 2] = blue;
      out[4 * i + 3] = 255;
    }
    return image;
  }

  // The outline of the study's region: white dashes on a black line, which show on every colour.
  drawStudied(context, wide, high) {
    if (!this.studied || !this.choice.outline) return;
    const { scale, x, y } = this.zoom;
    const [across, down] = [(wide * scale) / this.width, (high * scale) / this.height];
    const path = new Path2D();
    path.addPath(this.studied.path, new DOMMatrix([across, 0, 0, down, -x * wide * scale, -y * high * scale]));
    const thick = Math.max(2, devicePixelRatio * 1.5);
    context.lineJoin = "round";
    context.strokeStyle = "#000";
    context.lineWidth = 2 * thick;
    context.stroke(path);
    context.strokeStyle = "#fff";
    context.lineWidth = thick;
    context.setLineDash([4 * thick, 2 * thick]);
    context.stroke(path);
    context.setLineDash([]);
  }

  drawRegion(context, wide, high) {
    if (!this.region) return;
    const { top, bottom, left, right } = this.region;
    this.outline(context, wide, high, top, left, bottom - top + 1, right - left + 1);
  }

  drawCursor(context, wide, high) {
    if (this.cursor) this.outline(context, wide, high, this.cursor.row, this.cursor.column, 1, 1);
  }

  // A rectangle of pixels in black and white, which shows on every colour.
  outline(context, wide, high, row, column, rows, columns) {
    const { scale, x, y } = this.zoom;
    const cell = (wide * scale) / this.width;
    const left = (column / this.width - x) * wide * scale;
    const top = (row / this.height - y) * high * scale;
    context.lineWidth = Math.max(2, devicePixelRatio * 1.5);
    context.strokeStyle = "#000";
    context.strokeRect(left - 1, top - 1, columns * cell + 2, rows * cell + 2);
    context.strokeStyle = "#fff";
    context.strokeRect(left + 1, top + 1, Math.max(1, columns * cell - 2), Math.max(1, rows * cell - 2));
  }

  readout(panel, layer) {
    if (!this.cursor) {
      panel.read.textContent = panel.index === null ? this.data.texts.hover : "";
      return;
    }
    const { row, column } = this.cursor;
    const at = row * this.width + column;
    if (panel.index === null) {
      const channels = this.picture.length / (this.width * this.height);
      const level = Array.from(this.picture.slice(at * channels, at * channels + channels)).join(", ");
      panel.read.textContent = `${this.data.texts.row} ${row}, ${this.data.texts.column} ${column}: ${level}`;
      return;
    }
    const model = this.models[panel.index];
    const number = (value) => (value >= 0 ? "+" : "−") + Math.abs(value).toFixed(3);
    const alone = panel.kind === "lower" && this.choice.lower === "error";
    const error = panel.kind === "map" ? model.error : model.difference?.error;
    panel.read.textContent = alone ? `± ${model.error[at].toFixed(4)}` : `${number(layer[0][at])} ± ${error[at].toFixed(3)}`;
  }

  drawLegend() {
    const image = new ImageData(256, 1);
    const lut = this.luts[this.choice.palette];
    for (let i = 0; i < 256; i++) {
      const weight = lut[4 * i + 3] / 255; // over mid grey, as over a picture
      for (let c = 0; c < 3; c++) image.data[4 * i + c] = 110 + weight * (lut[4 * i + c] - 110);
      image.data[4 * i + 3] = 255;
    }
    // One pair of numbers fits only when all maps have the same scale about the same centre.
    const same = this.choice.shared && this.models.every((model) => model.centre === 0);
    const end = this.data.limit.toFixed(2);
    for (const { legend, low, high } of this.pictures) {
      legend.getContext("2d").putImageData(image, 0, 0);
      low.textContent = same ? `−${end}` : this.data.texts.least;
      high.textContent = same ? `+${end}` : this.data.texts.most;
    }
  }

  at(panel, event) {
    const box = panel.canvas.getBoundingClientRect();
    return { u: (event.clientX - box.left) / box.width, v: (event.clientY - box.top) / box.height, box };
  }

  // Begin to draw a region, or to move what is zoomed.
  press(panel, event) {
    this.corner = this.drawing ? this.place(panel, event) : null;
    this.drag = !this.drawing && this.zoom.scale > 1 ? { x: event.clientX, y: event.clientY } : null;
    if (!this.corner) return;
    panel.canvas.setPointerCapture(event.pointerId);
    this.setRegion(this.corner, this.corner);
  }

  place(panel, event) {
    const { u, v } = this.at(panel, event);
    const index = (part, offset, size) => Math.min(size - 1, Math.max(0, Math.floor((part / this.zoom.scale + offset) * size)));
    return { column: index(u, this.zoom.x, this.width), row: index(v, this.zoom.y, this.height) };
  }

  move(panel, event) {
    const { box } = this.at(panel, event);
    if (this.drag && event.buttons) {
      this.zoom.x -= (event.clientX - this.drag.x) / box.width / this.zoom.scale;
      this.zoom.y -= (event.clientY - this.drag.y) / box.height / this.zoom.scale;
      this.drag = { x: event.clientX, y: event.clientY };
      this.keepInside();
    }
    this.cursor = this.place(panel, event);
    if (this.corner && event.buttons) this.setRegion(this.corner, this.cursor);
    this.paint();
  }

  wheel(panel, event) {
    // The page scrolls as usual; the wheel zooms with Ctrl (and so does a pinch), or when already zoomed in.
    if (!event.ctrlKey && this.zoom.scale === 1) return;
    event.preventDefault();
    const { u, v } = this.at(panel, event);
    this.zoomBy(event.deltaY < 0 ? 1.25 : 0.8, u, v);
  }

  zoomBy(factor, u = 0.5, v = 0.5) {
    const old = this.zoom.scale;
    const scale = Math.min(MAX_ZOOM, Math.max(1, old * factor));
    this.zoom.x += u / old - u / scale;
    this.zoom.y += v / old - v / scale;
    this.zoom.scale = scale;
    this.keepInside();
    this.paint();
  }

  keepInside() {
    const most = 1 - 1 / this.zoom.scale;
    this.zoom.x = Math.min(most, Math.max(0, this.zoom.x));
    this.zoom.y = Math.min(most, Math.max(0, this.zoom.y));
  }

  resetZoom() {
    this.zoom = { scale: 1, x: 0, y: 0 };
    this.paint();
  }

  key(event) {
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    if (event.key === "+" || event.key === "=") this.zoomBy(1.5);
    else if (event.key === "-") this.zoomBy(1 / 1.5);
    else if (event.key === "Escape") this.cursor = this.corner = null;
    else if (event.key === "Enter" && this.drawing && this.cursor) {
      // The first Enter is one corner, the second the other.
      const first = this.corner ?? this.cursor;
      this.setRegion(first, this.cursor);
      this.corner = this.corner ? null : this.cursor;
    }
    else if (steps[event.key]) {
      const from = this.cursor ?? { row: this.height >> 1, column: this.width >> 1 };
      const [down, right] = steps[event.key];
      this.cursor = {
        row: Math.min(this.height - 1, Math.max(0, from.row + down)),
        column: Math.min(this.width - 1, Math.max(0, from.column + right)),
      };
    } else return;
    event.preventDefault();
    this.paint();
  }
}
