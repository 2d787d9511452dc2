// Thumbnails cut out of one picture. A click, or Enter on a focused one, tells Streamlit which; arrows move the focus.

export default function (component) {
  const { parentElement, data, setTriggerValue } = component;
  const root = parentElement.querySelector(".kg");
  const box = document.createElement("div");
  box.className = data.strip ? "strip" : "grid";
  box.style.setProperty("--thumb", `${data.thumb}px`);
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", data.label);
  data.items.forEach((item, index) => box.append(button(item, index, data, () => setTriggerValue("picked", item.id))));
  box.onkeydown = (event) => move(event, [...box.children], data.strip);
  const left = root.firstElementChild?.scrollLeft ?? 0;
  const focused = [...(root.firstElementChild?.children ?? [])].indexOf(root.getRootNode().activeElement);
  root.replaceChildren(box);
  box.scrollLeft = left;
  if (focused >= 0) box.children[focused]?.focus();
}

function button(item, index, data, pick) {
  const node = document.createElement("button");
  node.type = "button";
  node.setAttribute("aria-label", item.alt);
  node.title = item.alt;
  if (data.strip) node.setAttribute("aria-pressed", item.id === data.selected);
  const picture = document.createElement("span");
  picture.className = "pic";
  const { columns, rows, sprite } = data;
  picture.style.backgroundImage = `url(${sprite})`;
  picture.style.backgroundSize = `${columns * 100}% ${rows * 100}%`;
  const share = (place, count) => (count > 1 ? (place / (count - 1)) * 100 : 0);
  picture.style.backgroundPosition = `${share(index % columns, columns)}% ${share(Math.floor(index / columns), rows)}%`;
  node.append(picture);
  if (item.label) node.append(text("span", "label", item.label));
  if (item.lines) node.append(lines(item.lines));
  node.onclick = pick;
  return node;
}

function lines(entries) {
  const box = text("span", "lines", "");
  for (const entry of entries) {
    const line = text("span", entry.wrong ? "line wrong" : "line", "");
    line.style.setProperty("--role", entry.colour);
    const mark = document.createElement("i");
    mark.className = entry.symbol;
    line.append(mark, text("b", "", entry.predicted), text("span", "", entry.confidence));
    box.append(line);
  }
  return box;
}

function text(tag, name, content) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  node.textContent = content;
  return node;
}

function move(event, nodes, strip) {
  const at = nodes.indexOf(event.target);
  if (at < 0) return;
  const columns = strip ? nodes.length : nodes.filter((node) => node.offsetTop === nodes[0].offsetTop).length;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
  if (!step || !nodes[at + step]) return;
  event.preventDefault();
  nodes[at + step].focus();
}
