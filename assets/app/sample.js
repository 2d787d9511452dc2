// The open sample: what each model says of it, and where it looks. While maps are computed it asks for the next state.
// Closing, marking and opening in Compare are the gallery's to do; it is told by an event of the window.

const EYE = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M2 12s3.6-6.5 10-6.5S22 12 22 12s-3.6 6.5-10 6.5S2 12 2 12z"/><circle cx="12" cy="12" r="3"/></svg>';

export default function (component) {
  const { parentElement, data, setTriggerValue } = component;
  const root = parentElement.querySelector(".k-root");
  root.classList.add("kp");
  clearInterval(root.timer);
  const at = root.getRootNode().activeElement?.dataset?.at;
  const top = root.querySelector(".panel")?.scrollTop ?? 0;
  root.replaceChildren(data.sample ? panel(data, setTriggerValue) : empty(data));
  if (data.sample) root.firstElementChild.scrollTop = top;
  if (at) root.querySelector(`[data-at="${at}"]`)?.focus();
  // Again and again: where nothing is new, this function is not called.
  const ask = () => document.hidden || setTriggerValue("asked", (root.asked = (root.asked ?? 0) + 1));
  if (data.busy) root.timer = setInterval(ask, data.pause);
  return () => clearInterval(root.timer);
}

function empty({ texts, keys }) {
  const box = element("div", "empty");
  box.innerHTML = EYE;
  box.append(element("b", "", texts.empty), element("span", "", texts.emptyMore));
  const list = element("dl");
  for (const [key, what] of keys) {
    const name = element("dt");
    name.append(element("kbd", "", key));
    list.append(name, element("dd", "", what));
  }
  box.append(list);
  return box;
}

function panel(data, tell) {
  const { sample, texts } = data;
  const say = (what) => window.dispatchEvent(new CustomEvent("kdviz-sample", { detail: { what, id: sample.id } }));
  const box = element("section", "panel");
  box.setAttribute("aria-label", sample.title);
  box.onkeydown = (event) => event.key === "Escape" && say("close");
  const head = element("header");
  const title = element("h2", "", sample.title);
  title.append(element("small", "", sample.about));
  const close = button("×", "close", () => say("close"));
  close.setAttribute("aria-label", texts.close);
  close.title = texts.close;
  if (sample.picture) head.append(image(sample.picture, sample.alt, sample.sharp, "whole"));
  head.append(title, close);
  box.append(head);
  if (data.problem) box.append(element("p", "problem", data.problem));
  if (sample.picture) box.append(modes(data, tell), cards(data), note(texts));
  else box.append(cards(data)); // without a picture there are answers, and no maps
  const foot = element("footer");
  if (sample.kept) foot.append(button(texts.compare, "main", () => say("compare")));
  foot.append(mark(data, say));
  box.append(foot);
  return box;
}

function mark({ marked, texts }, say) {
  const node = button(marked ? texts.marked : texts.mark, "mark", () => say("mark"));
  node.setAttribute("aria-pressed", marked);
  return node;
}

function modes({ texts, mode, modes: known }, tell) {
  const box = element("div", "modes");
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", texts.modes);
  for (const [name, title] of known) {
    const node = button(title, `mode-${name}`, () => name !== mode && tell("explained", name));
    node.setAttribute("aria-pressed", name === mode);
    box.append(node);
  }
  return box;
}

function cards(data) {
  const { cards: models, texts, sample } = data;
  const box = element("div", "cards");
  for (const model of models) {
    const card = element("div", sample.picture ? "card" : "card bare");
    card.setAttribute("role", "group");
    card.setAttribute("aria-label", model.title);
    card.style.setProperty("--role", model.colour);
    const who = element("div", "who");
    const mark = element("span", model.wrong ? "wrong" : "", model.verdict);
    who.append(element("i", model.symbol), model.title, mark);
    const bars = element("ol");
    for (const { name, share, text, right, rank } of model.bars) {
      const bar = element("li", right ? "true" : "");
      bar.style.setProperty("--share", `${100 * share}%`);
      const label = element("span", "", name);
      label.title = name;
      if (rank) bar.append(place(rank, texts));
      bar.append(label, element("span", "", text));
      bars.append(bar);
    }
    card.append(who);
    if (sample.picture) card.append(map(model, data));
    card.append(bars, ...model.inside.map((line) => element("p", "inside", line)));
    box.append(card);
  }
  return box;
}

// A model's map, or the picture while there is none.
function map(model, { sample, texts, busy }) {
  const box = element("div", model.map ? "map" : "map faint");
  box.append(image(model.map ?? sample.picture, model.alt, sample.sharp));
  if (!model.map && busy) box.append(element("em", "", texts.waiting));
  return box;
}

// The rank of a class among a model's answers.
function place(rank, texts) {
  const node = element("small", "rank", rank);
  node.title = texts.rank.replace("{rank}", rank);
  return node;
}

function note({ note: text, up, down }) {
  const box = element("p", "note");
  const parts = text.split(/(\{up\}|\{down\})/);
  for (const part of parts) {
    if (part === "{up}") box.append(element("b", "up", up));
    else if (part === "{down}") box.append(element("b", "down", down));
    else box.append(part);
  }
  return box;
}

function image(source, alt, sharp, name = "") {
  const node = element("img", name);
  node.src = source;
  node.alt = alt;
  node.classList.toggle("sharp", sharp);
  return node;
}

function button(text, at, act) {
  const node = element("button", at, text);
  node.type = "button";
  node.dataset.at = at;
  node.onclick = act;
  return node;
}

function element(tag, name = "", content = "") {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (content) node.textContent = content;
  return node;
}
