// One of several groups, each with its count: radio buttons that look like chips. Arrows choose the next one.

export default function (component) {
  const { parentElement, data, setTriggerValue } = component;
  const root = parentElement.querySelector(".k-root");
  const focused = root.contains(root.getRootNode().activeElement);
  const box = document.createElement("div");
  box.className = "chips";
  box.setAttribute("role", "radiogroup");
  box.setAttribute("aria-label", data.label);
  const choose = (name) => {
    mark(box, data, name);
    box.querySelector("[aria-checked=true]").focus();
    if (name !== data.chosen) setTriggerValue("chosen", name);
  };
  for (const one of data.options) {
    const node = document.createElement("button");
    node.type = "button";
    node.setAttribute("role", "radio");
    node.title = one.about;
    node.classList.toggle("none", one.none);
    const count = document.createElement("span");
    count.textContent = one.count;
    node.append(one.title, count);
    node.onclick = () => choose(one.name);
    box.append(node);
  }
  box.onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const at = [...box.children].indexOf(event.target);
    choose(data.options.at((at + step) % data.options.length).name);
  };
  const left = root.firstElementChild?.scrollLeft ?? 0;
  root.replaceChildren(box);
  mark(box, data, data.chosen);
  box.scrollLeft = left;
  const chosen = box.querySelector("[aria-checked=true]");
  if (focused) chosen.focus();
  else chosen.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function mark(box, data, name) {
  data.options.forEach((one, index) => {
    const node = box.children[index];
    node.setAttribute("aria-checked", one.name === name);
    node.tabIndex = one.name === name ? 0 : -1;
  });
}
