// Thumbnails cut out of one picture: a strip to choose one from, or a page of a long list.
// In the list a click opens a sample, Enter or a double click takes it to Compare, Space or its box marks it.

const RETRY = 3000; // milliseconds
const RETRIES = 5;

export default function (component) {
  const root = component.parentElement.querySelector(".k-root");
  root.classList.add("kg");
  const old = root.sheet;
  if (root.source !== component.data.sprite) {
    root.source = component.data.sprite;
    root.sheet = address(root.source);
    root.style.setProperty("--sheet", `url(${root.sheet})`);
  }
  const clean = component.data.strip ? strip(root, component) : list(root, component);
  if (old !== root.sheet) URL.revokeObjectURL(old);
  return () => {
    clean?.();
    setTimeout(() => root.isConnected || (URL.revokeObjectURL(root.sheet), (root.source = null)), 2000);
  };
}

// A short address of a picture that came as text: the style of each thumbnail would copy the long one.
function address(source) {
  const [head, body] = source.split(",");
  const bytes = Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0));
  return URL.createObjectURL(new Blob([bytes], { type: /:(.+);/.exec(head)[1] }));
}

function strip(root, { data, setTriggerValue }) {
  const box = element("div", "strip");
  box.style.setProperty("--thumb", `${data.thumb}px`);
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", data.label);
  data.items.forEach((item, index) => {
    const node = element("button");
    node.type = "button";
    node.setAttribute("aria-label", item.alt);
    node.title = item.alt;
    node.setAttribute("aria-pressed", item.id === data.selected);
    node.append(picture(data, index));
    node.onclick = () => setTriggerValue("picked", item.id);
    box.append(node);
  });
  box.onkeydown = (event) => {
    const nodes = [...box.children];
    const to = nodes[nodes.indexOf(event.target) + ({ ArrowLeft: -1, ArrowRight: 1 }[event.key] ?? NaN)];
    if (to) (event.preventDefault(), to.focus());
  };
  const left = root.firstElementChild?.scrollLeft ?? 0;
  const focused = [...(root.firstElementChild?.children ?? [])].indexOf(root.getRootNode().activeElement);
  root.replaceChildren(box);
  box.scrollLeft = left;
  if (focused >= 0) box.children[focused]?.focus();
}

// a page of a list -----------------------------------------------------------------------------------------------------

function list(root, { data, setTriggerValue }) {
  const kept = (root.kept ??= {});
  const fresh = kept.stamp !== data.initial.stamp;
  if (fresh) {
    kept.stamp = data.initial.stamp;
    kept.marked = new Set(data.initial.marked);
    kept.open = data.initial.open;
  }
  const turned = kept.data !== undefined && kept.data.page !== data.page;
  const same = kept.data?.sprite === data.sprite && kept.data?.page === data.page;
  Object.assign(kept, { data, tell: setTriggerValue, turning: null });
  if (data.open === kept.open) clearInterval(kept.retry);
  const notes = data.items.map(({ note }) => note).join();
  if (!same || fresh || kept.label !== data.label || kept.notes !== notes) build(root, kept, turned);
  Object.assign(kept, { label: data.label, notes });
  mark(kept);
  kept.stop?.abort();
  kept.stop = new AbortController();
  listen(kept);
  return () => kept.stop.abort();
}

function build(root, kept, turned) {
  const { data } = kept;
  const inside = root.contains(root.getRootNode().activeElement);
  const at = kept.box ? [...kept.box.children].indexOf(root.getRootNode().activeElement) : -1;
  const head = element("div", "head");
  kept.all = action(data.texts.markAll, () => markAll(kept));
  head.append(legend(data), kept.all, pager(kept, "top"));
  kept.box = listbox(kept);
  kept.bar = element("div", "marks");
  const hint = element("p", "hint", data.texts.hint);
  const foot = element("div", "foot");
  foot.append(hint, pager(kept, "bottom"));
  root.replaceChildren(head, kept.bar, kept.box, foot);
  root.removeAttribute("aria-busy");
  kept.root = root;
  if (turned && root.getBoundingClientRect().top < 0) root.scrollIntoView();
  const target = kept.box.children[turned ? (kept.toEnd ? data.items.length - 1 : 0) : at];
  // A thumbnail that had the focus keeps it, or the next key would go nowhere; a button that turned the page does not.
  if (target && (at >= 0 || (inside && kept.keys))) focus(kept, target, false, true);
  const open = data.items.findIndex((item) => item.id === kept.open);
  if (!inside && open >= 0) kept.box.children[open].scrollIntoView({ block: "nearest" });
}

function listbox(kept) {
  const { data } = kept;
  const box = element("div", data.blank ? "grid words" : "grid");
  box.style.setProperty("--thumb", `${data.thumb}px`);
  box.setAttribute("role", "listbox");
  box.setAttribute("aria-multiselectable", "true");
  box.setAttribute("aria-label", data.label);
  data.items.forEach((item, index) => box.append(option(kept, item, index)));
  const open = data.items.findIndex((item) => item.id === kept.open);
  if (box.children.length) box.children[Math.max(open, 0)].tabIndex = 0;
  box.onkeydown = (event) => key(kept, event);
  return box;
}

function option(kept, item, index) {
  const node = element("div", "thumb");
  node.setAttribute("role", "option");
  node.setAttribute("aria-label", item.alt);
  node.tabIndex = -1;
  const cut = picture(kept.data, index);
  const box = element("span", "box");
  cut.append(box);
  node.append(cut, element("span", "label", item.label), lines(item.lines));
  if (item.note) node.append(element("span", "remark", item.note));
  box.onclick = (event) => (event.stopPropagation(), toggle(kept, item.id));
  node.onclick = () => (focus(kept, node, false), open(kept, item.id));
  node.ondblclick = () => pick(kept, item);
  return node;
}

function key(kept, event) {
  const nodes = [...kept.box.children];
  const at = nodes.indexOf(event.target);
  if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
  const { items } = kept.data;
  const across = nodes.filter((node) => node.offsetTop === nodes[0].offsetTop).length;
  const steps = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - across, ArrowDown: at + across };
  const moves = { ...steps, Home: 0, End: nodes.length - 1 };
  kept.keys = true;
  const acts = {
    Enter: () => pick(kept, items[at]),
    " ": () => toggle(kept, items[at].id),
    PageDown: () => turn(kept, 1),
    PageUp: () => turn(kept, -1),
    Escape: () => open(kept, -1),
  };
  if (event.key in moves) focus(kept, nodes[moves[event.key]] ?? nodes[at], true);
  else if (event.key in acts) acts[event.key]();
  else return;
  event.preventDefault();
}

// With the keyboard the open sample follows, once the person stays for a moment.
function focus(kept, node, follow, again = false) {
  for (const other of kept.box.children) other.tabIndex = other === node ? 0 : -1;
  node.focus();
  if (again) return; // the sample that is to open after a key stays that
  clearTimeout(kept.timer);
  const { id } = kept.data.items[[...kept.box.children].indexOf(node)];
  if (follow) kept.timer = setTimeout(() => open(kept, id), 200);
}

// Compare has only pictures that are stored as the models see them; of the others there is the panel.
function pick(kept, item) {
  if (item.kept) kept.tell("picked", item.id);
  else open(kept, item.id);
}

function open(kept, id) {
  clearTimeout(kept.timer);
  if (kept.open === id) return;
  kept.open = id;
  mark(kept);
  if (matchMedia("(max-width: 899px)").matches) kept.box.querySelector("[aria-current]")?.scrollIntoView();
  sayOpen(kept);
}

// Until the server has drawn what is open it is told again: on a busy machine a message can be lost between two runs.
function sayOpen(kept) {
  let left = RETRIES;
  clearInterval(kept.retry);
  kept.tell("opened", kept.open);
  kept.retry = setInterval(() => {
    if (!left-- || !kept.root.isConnected) clearInterval(kept.retry);
    else kept.tell("opened", kept.open);
  }, RETRY);
}

function turn(kept, by, to = (kept.turning ?? kept.data.page) + by) {
  const page = Math.min(Math.max(1, to), kept.data.pages);
  if (page === (kept.turning ?? kept.data.page)) return;
  kept.turning = page;
  kept.toEnd = false;
  kept.root.setAttribute("aria-busy", "true");
  kept.tell("turned", page);
}

function toggle(kept, id) {
  if (!kept.marked.delete(id)) {
    if (kept.marked.size >= kept.data.most) return full(kept);
    kept.marked.add(id);
  }
  told(kept);
}

function markAll(kept) {
  const ids = kept.data.items.map((item) => item.id);
  const every = ids.every((id) => kept.marked.has(id));
  for (const id of ids) {
    if (every) kept.marked.delete(id);
    else if (kept.marked.size < kept.data.most) kept.marked.add(id);
    else if (!kept.marked.has(id)) return (told(kept), full(kept));
  }
  told(kept);
}

function told(kept) {
  mark(kept);
  kept.tell("marked", [...kept.marked]);
}

function full(kept) {
  const { full: text } = kept.data.texts;
  kept.bar.querySelector("[role=status]")?.replaceChildren(text.replace("{most}", kept.data.most));
}

function mark(kept) {
  const { items, texts } = kept.data;
  kept.root.classList.toggle("opened", kept.open >= 0);
  items.forEach((item, index) => {
    const node = kept.box.children[index];
    node.setAttribute("aria-selected", kept.marked.has(item.id));
    if (item.id === kept.open) node.setAttribute("aria-current", "true");
    else node.removeAttribute("aria-current");
  });
  const every = items.length && items.every((item) => kept.marked.has(item.id));
  kept.all.textContent = every ? texts.unmarkAll : texts.markAll;
  const shown = kept.bar.childElementCount > 0;
  if (!kept.marked.size) return kept.bar.replaceChildren();
  if (!shown) {
    const compare = kept.data.blank ? "" : action(texts.compare, () => kept.tell("compared", [...kept.marked]));
    compare.classList?.add("main");
    const say = element("span", "count");
    say.setAttribute("role", "status");
    kept.bar.append(say, compare, action(texts.clear, () => (kept.marked.clear(), told(kept))));
  }
  kept.bar.firstElementChild.textContent = texts.marked.replace("{count}", kept.marked.size);
}

// What the panel of the open sample asks for: that piece knows only its sample.
function listen(kept) {
  const acts = { close: () => close(kept), compare: (id) => kept.tell("picked", id), mark: (id) => toggle(kept, id) };
  const hear = (event) => acts[event.detail.what]?.(event.detail.id);
  window.addEventListener("kdviz-sample", hear, { signal: kept.stop.signal });
}

function close(kept) {
  const at = kept.data.items.findIndex((item) => item.id === kept.open);
  open(kept, -1);
  if (at >= 0) kept.box.children[at].focus();
}

// pieces ---------------------------------------------------------------------------------------------------------------

function pager(kept, where) {
  const { data } = kept;
  const box = element("nav", "pager");
  box.setAttribute("aria-label", `${data.texts.page} (${where === "top" ? "↑" : "↓"})`);
  if (data.pages < 2) return "";
  const step = (by, sign, label) => {
    const node = action(sign, () => ((kept.keys = false), turn(kept, by)));
    node.setAttribute("aria-label", label);
    node.title = label;
    node.disabled = by < 0 ? data.page === 1 : data.page === data.pages;
    return node;
  };
  const field = element("input");
  Object.assign(field, { type: "number", min: 1, max: data.pages, value: data.page });
  field.setAttribute("aria-label", data.texts.page);
  field.onchange = () => turn(kept, 0, Math.round(Number(field.value) || 1));
  const of = data.texts.of.replace("{pages}", data.pages.toLocaleString(data.locale));
  box.append(step(-1, "‹", data.texts.previous), field, element("span", "", of), step(1, "›", data.texts.next));
  return box;
}

function legend(data) {
  const box = element("div", "legend");
  for (const { colour, symbol, title } of data.legend) {
    const line = element("span", "line");
    line.style.setProperty("--role", colour);
    line.append(element("i", symbol), title);
    box.append(line);
  }
  return box;
}

function picture(data, index) {
  const node = element("span", data.soft ? "pic soft" : "pic");
  const { columns, rows } = data;
  node.style.backgroundSize = `${columns * 100}% ${rows * 100}%`;
  const share = (place, count) => (count > 1 ? (place / (count - 1)) * 100 : 0);
  node.style.backgroundPosition = `${share(index % columns, columns)}% ${share(Math.floor(index / columns), rows)}%`;
  return node;
}

function lines(entries) {
  const box = element("span", "lines");
  for (const entry of entries) {
    const line = element("span", entry.wrong ? "line wrong" : "line");
    line.style.setProperty("--role", entry.colour);
    line.append(element("i", entry.symbol), element("b", "", entry.predicted), element("span", "", entry.confidence));
    box.append(line);
  }
  return box;
}

function action(text, act) {
  const node = element("button", "action", text);
  node.type = "button";
  node.onclick = act;
  return node;
}

function element(tag, name = "", content = "") {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (content) node.textContent = content;
  return node;
}
