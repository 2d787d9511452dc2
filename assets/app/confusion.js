// A confusion matrix to click: true class by answer. Few classes are a table, more a picture; of many only the groups
// that are taken for each other are tables, one of them open. Below are the most confused pairs. A cell filters by both
// classes, a heading by one; the same again takes it back.

export default function (component) {
  const { parentElement, data, setTriggerValue } = component;
  const root = parentElement.querySelector(".k-root");
  const kept = (root.kept ??= {});
  root.classList.add("km");
  Object.assign(kept, { data, root, counts: new Map(data.cells.map(([t, s, n]) => [t * data.count + s, n])) });
  kept.choose = (t, s) => {
    const same = data.chosen[0] === t && data.chosen[1] === s;
    setTriggerValue("cell", same ? [-1, -1] : [t, s]);
  };
  const active = root.getRootNode().activeElement;
  const back = active?.dataset?.at;
  const body = element("div", "body");
  const fold = folding(kept, body);
  const whole = Object.keys(data.classes).map(Number);
  const forms = { table: () => table(kept, whole), picture: () => picture(kept), blocks: () => blocks(kept) };
  kept.draw = null;
  if (data.modes.length > 1) body.append(modes(data, setTriggerValue));
  body.append(forms[data.form](), legend(data), pairs(kept));
  root.replaceChildren(fold, body);
  if (back) root.querySelector(`[data-at="${back}"]`)?.focus();
  kept.draw?.();
}

// Beside the pictures on a wide page; elsewhere it is folded away until somebody wants it.
function folding(kept, body) {
  const { data, root } = kept;
  const wide = matchMedia("(min-width: 1200px)");
  const node = element("button", "fold", data.texts.title);
  node.type = "button";
  node.dataset.at = "fold";
  const apply = () => {
    const open = kept.open ?? wide.matches;
    node.setAttribute("aria-expanded", open);
    body.hidden = !open;
    if (open) kept.draw?.();
  };
  node.onclick = () => ((kept.open = node.getAttribute("aria-expanded") !== "true"), apply());
  wide.onchange = apply;
  root.wide = wide; // or it may be collected
  apply();
  return node;
}

function modes(data, tell) {
  const box = element("div", "modes");
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", data.texts.modes);
  for (const [name, title] of data.modes) {
    const node = element("button", "", title);
    node.type = "button";
    node.dataset.at = `mode-${name}`;
    node.setAttribute("aria-pressed", name === data.mode);
    node.onclick = () => name !== data.mode && tell("mode", name);
    box.append(node);
  }
  return box;
}

// a table --------------------------------------------------------------------------------------------------------------

// Of all classes, or of those of a block, whose columns are numbered as their names would not fit.
function table(kept, ids, numbered = false) {
  const { data } = kept;
  const node = element("table");
  const long = ids.some((id) => data.classes[id].length > 3);
  node.classList.toggle("long", long);
  node.classList.toggle("upright", long && !numbered); // heads of narrow columns are read from below
  node.setAttribute("aria-label", data.texts.label);
  const head = node.createTHead().insertRow();
  head.append(element("td", "corner", long ? data.texts.corner : ""));
  ids.forEach((said, at) => head.append(heading(kept, -1, said, numbered ? at + 1 : data.classes[said], "col")));
  const body = node.createTBody();
  ids.forEach((label, at) => {
    const row = body.insertRow();
    const name = data.classes[label];
    row.append(heading(kept, label, -1, numbered ? `${at + 1} ${name}` : name, "row"));
    ids.forEach((said) => row.append(cell(kept, label, said)));
  });
  const first = data.chosen.map((id) => (ids.includes(id) ? id : ids[0]));
  node.querySelector(`[data-at="${first}"]`).tabIndex = 0; // one stop of the Tab key; arrows go on from there
  node.onkeydown = (event) => move(event, node, ids);
  return node;
}

function heading(kept, label, said, text, scope) {
  const { data } = kept;
  const node = element("th");
  node.scope = scope;
  const inside = press(kept, label, said, text);
  const name = data.classes[scope === "row" ? label : said];
  const sentence = scope === "row" ? data.texts.row : data.texts.column;
  inside.setAttribute("aria-label", sentence.replace("{name}", () => name));
  inside.title = name;
  if (inside.firstChild) inside.replaceChildren(element("span", "", text));
  node.append(inside);
  return node;
}

function cell(kept, label, said) {
  const count = kept.counts.get(label * kept.data.count + said) ?? 0;
  const node = element("td", label === said ? "same" : "");
  const inside = press(kept, label, said, count ? short(count, kept.data) : "");
  const text = sentence(kept, label, said);
  inside.setAttribute("aria-label", text);
  inside.title = text;
  inside.style.setProperty("--share", `${share(kept, label, said, count)}%`);
  inside.style.setProperty("--tone", tone(kept.data, label === said, count));
  node.append(inside);
  return node;
}

function press(kept, label, said, text) {
  const { data, choose } = kept;
  const node = element("button", "", text);
  node.type = "button";
  node.dataset.at = `${label},${said}`;
  node.tabIndex = -1;
  node.setAttribute("aria-pressed", chosen(data, label, said));
  node.onclick = () => choose(label, said);
  return node;
}

function chosen(data, label, said) {
  return data.chosen[0] === label && data.chosen[1] === said;
}

function move(event, node, ids) {
  // Places in the table, where headings are at -1.
  const [label, said] = event.target.dataset.at.split(",").map((id) => ids.indexOf(Number(id)));
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const ends = { Home: [label, 0], End: [label, ids.length - 1] };
  if (!(event.key in steps) && !(event.key in ends)) return;
  event.preventDefault();
  const to = ends[event.key] ?? [label + steps[event.key][0], said + steps[event.key][1]];
  const next = node.querySelector(`[data-at="${to.map((place) => (place < 0 ? place : ids[place]))}"]`);
  if (!next) return;
  for (const other of node.querySelectorAll("[tabindex='0']")) other.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

// blocks of many classes -----------------------------------------------------------------------------------------------

function blocks(kept) {
  const { data } = kept;
  const { texts, chosen: by } = data;
  const box = element("div", "blocks");
  if (!data.blocks.length) return box;
  // Another list is another choice; the block of the classes that are chosen opens by itself.
  const list = JSON.stringify(data.blocks);
  if (kept.list !== list) (kept.list = list), (kept.block = 0);
  const about = `${by}`;
  const place = data.blocks.findIndex(([ids]) => by.some((id) => id >= 0) && by.every((id) => id < 0 || ids.includes(id)));
  if (kept.by !== about && place >= 0) kept.block = place;
  kept.by = about;
  box.append(element("h3", "", texts.blocks), element("p", "legend", texts.blocksHint.replace("{share}", () => data.coverage)));
  const nodes = element("ul");
  const most = data.blocks[0][1];
  const fill = () => {
    nodes.replaceChildren(...data.blocks.map((block, at) => blockEntry(kept, block, at, most, (to) => {
      kept.block = kept.block === to ? -1 : to;
      fill();
      nodes.querySelector(`[data-at="block-${to}"]`).focus();
    })));
  };
  fill();
  box.append(nodes);
  return box;
}

function blockEntry(kept, [ids, count], at, most, open) {
  const { data } = kept;
  const shown = ids.slice(0, 3).map((id) => data.classes[id]);
  if (ids.length > 3) shown.push(data.texts.more.replace("{count}", ids.length - 3));
  const names = ids.map((id) => data.classes[id]).join(", ");
  const node = element("button");
  node.type = "button";
  node.dataset.at = `block-${at}`;
  node.setAttribute("aria-expanded", kept.block === at);
  node.setAttribute("aria-label", data.texts.block.replace("{names}", () => names).replace("{count}", () => count.toLocaleString(data.locale)));
  node.title = names;
  node.style.setProperty("--share", `${(100 * count) / most}%`);
  node.style.setProperty("--tone", data.mode === "change" ? "var(--st-text-color)" : data.colours.counts);
  node.append(element("span", "names", shown.join(", ")), element("span", "", count.toLocaleString(data.locale)));
  node.onclick = () => open(at);
  const entry = element("li");
  entry.append(node);
  if (kept.block === at) entry.append(table(kept, ids, true));
  return entry;
}

// a picture, for more classes ------------------------------------------------------------------------------------------

function picture(kept) {
  const { data } = kept;
  const { count } = data;
  const box = element("div", "map");
  const canvas = element("canvas");
  const say = element("p", "read", data.texts.hint);
  say.setAttribute("aria-live", "polite");
  canvas.tabIndex = 0;
  canvas.dataset.at = "map";
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", `${data.texts.label}. ${data.texts.hint}`);
  kept.draw = () => draw(kept, canvas);
  const at = (event) => {
    const area = canvas.getBoundingClientRect();
    const place = (value, size) => Math.min(count - 1, Math.max(0, Math.floor((value / size) * count)));
    return [place(event.clientY - area.top, area.height), place(event.clientX - area.left, area.width)];
  };
  const show = (label, said) => {
    kept.cursor = [label, said];
    say.textContent = sentence(kept, label, said);
    kept.draw();
  };
  canvas.onpointermove = (event) => show(...at(event));
  canvas.onclick = (event) => kept.choose(...at(event));
  canvas.onkeydown = (event) => {
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const [label, said] = kept.cursor ?? [0, 0];
    const inside = (value) => Math.min(count - 1, Math.max(0, value));
    if (event.key in steps) show(inside(label + steps[event.key][0]), inside(said + steps[event.key][1]));
    else if (event.key === "Enter" || event.key === " ") kept.choose(label, said);
    else return;
    event.preventDefault();
  };
  box.append(canvas, say);
  return box;
}

function draw(kept, canvas) {
  const side = canvas.clientWidth * devicePixelRatio;
  if (!side) return;
  const { data, root } = kept;
  const { count } = data;
  const step = side / count;
  canvas.width = canvas.height = side;
  const pen = canvas.getContext("2d");
  const style = getComputedStyle(root);
  for (const [place, value] of kept.counts) {
    const [label, said] = [Math.floor(place / count), place % count];
    pen.globalAlpha = 0.25 + (0.75 * share(kept, label, said, value)) / 50;
    pen.fillStyle = label === said ? style.color : tone(data, false, value);
    if (label === said) pen.globalAlpha *= 0.35;
    pen.fillRect(Math.floor(said * step), Math.floor(label * step), Math.ceil(step), Math.ceil(step));
  }
  pen.globalAlpha = 1;
  const frame = ([label, said], width, colour) => {
    pen.strokeStyle = colour;
    pen.lineWidth = width * devicePixelRatio;
    const [x, y] = [said < 0 ? 0 : said * step, label < 0 ? 0 : label * step];
    pen.strokeRect(x, y, said < 0 ? side : step, label < 0 ? side : step);
  };
  if (data.chosen[0] >= 0 || data.chosen[1] >= 0) frame(data.chosen, 3, data.frame);
  if (kept.cursor) frame(kept.cursor, 1.5, style.color);
}

// the rest -------------------------------------------------------------------------------------------------------------

function pairs(kept) {
  const { data } = kept;
  const box = element("div", "pairs");
  if (!data.pairs.length) return element("p", "none", data.texts.none);
  box.append(element("h3", "", data.texts.pairs));
  const list = element("ul", data.form === "table" ? "" : "many");
  const most = Math.max(...data.pairs.map(([, , n]) => Math.abs(n)));
  for (const [label, said, count] of data.pairs) {
    const node = element("button");
    node.type = "button";
    node.dataset.at = `pair-${label},${said}`;
    node.setAttribute("aria-pressed", chosen(data, label, said));
    node.setAttribute("aria-label", sentence(kept, label, said));
    node.style.setProperty("--share", `${(100 * Math.abs(count)) / most}%`);
    node.style.setProperty("--tone", tone(data, false, count));
    const names = element("span", "names");
    names.append(element("b", "", data.classes[label]), " → ", element("b", "", data.classes[said]));
    node.append(names, element("span", "", number(count, data)));
    node.onclick = () => kept.choose(label, said);
    const entry = element("li");
    entry.append(node);
    list.append(entry);
  }
  box.append(list);
  return box;
}

function legend(data) {
  return element("p", "legend", data.texts.legend);
}

function sentence({ data, counts }, label, said) {
  const count = counts.get(label * data.count + said) ?? 0;
  const places = { true: data.classes[label], said: data.classes[said], count: number(count, data) };
  return data.texts.cell.replace(/\{(\w+)\}/g, (_, name) => places[name]);
}

// 0 to 50: how much of the colour is mixed in; text stays readable on it.
function share(kept, label, said, count) {
  if (!count) return 0;
  if (label === said && kept.data.mode === "counts") return 12;
  const most = (kept.most ??= new WeakMap());
  if (!most.has(kept.data)) {
    const off = kept.data.cells.filter(([t, s]) => t !== s || kept.data.mode !== "counts");
    most.set(kept.data, Math.max(1, ...off.map(([, , n]) => Math.abs(n))));
  }
  return 10 + 40 * Math.sqrt(Math.abs(count) / most.get(kept.data));
}

function tone(data, same, count) {
  if (data.mode === "change") return count > 0 ? data.colours.more : data.colours.fewer;
  return same ? "var(--st-text-color)" : data.colours.counts;
}

function number(count, data, more = {}) {
  const signs = data.mode === "change" ? { signDisplay: "exceptZero" } : {};
  return count.toLocaleString(data.locale, { ...signs, ...more });
}

function short(count, data) {
  return Math.abs(count) < 1000 ? number(count, data) : number(count, data, { notation: "compact", maximumFractionDigits: 1 });
}

function element(tag, name = "", content = "") {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (content) node.textContent = content;
  return node;
}
