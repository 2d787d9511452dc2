// Streamlit's own words in the page's language: it has them in English only. They are changed in place, in the pieces
// that are Streamlit's, and changed back when the page is English again.

const ATTRIBUTES = ["aria-label", "title", "placeholder", "data-title"];
const ITS_TEXTS =
  '[data-testid="stFileUploader"], [data-testid="stCameraInput"], [data-testid="stMultiSelect"], [role="listbox"],' +
  '[data-testid="stStatusWidget"], [data-testid="stTooltipContent"], [data-testid="stSkipToContent"]';

function speak(words, language) {
  const known = (window.kdvizWords ??= { language: "", changed: [] });
  if (known.language === language) return;
  known.language = language;
  known.observer?.disconnect();
  for (const { node, attribute, before, after } of known.changed.splice(0)) {
    const one = node.deref();
    if (one && value(one, attribute) === after) change(one, attribute, before);
  }
  const exact = new Map();
  const patterns = [];
  for (const [english, text] of Object.entries(words)) {
    if (english.includes("{name}")) patterns.push([pattern(english), text]);
    else exact.set(english, text);
  }
  if (!exact.size) return;
  const say = (node, attribute) => {
    const before = value(node, attribute);
    const after = before && translated(before, exact, patterns);
    if (!after) return;
    change(node, attribute, after);
    known.changed.push({ node: new WeakRef(node), attribute, before, after });
    if (known.changed.length > 4000) known.changed = known.changed.filter((one) => one.node.deref()?.isConnected);
  };
  known.observer = new MutationObserver((changes) => {
    for (const { type, target, attributeName, addedNodes } of changes) {
      if (type === "attributes") say(target, attributeName);
      else if (type === "characterData") within(target) && say(target, "");
      else for (const node of addedNodes) all(node, say);
    }
  });
  all(document.body, say);
  known.observer.observe(document.body, {
    childList: true,
    subtree: true,
    characterData: true,
    attributes: true,
    attributeFilter: ATTRIBUTES,
  });
}

function all(root, say) {
  const walk = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
  for (let node = walk.currentNode; node; node = walk.nextNode()) {
    if (node.nodeType === Node.TEXT_NODE) within(node) && say(node, "");
    else if (node.nodeType === Node.ELEMENT_NODE)
      for (const attribute of ATTRIBUTES) if (node.hasAttribute(attribute)) say(node, attribute);
  }
}

function within(text) {
  return text.parentElement?.closest(ITS_TEXTS);
}

function translated(text, exact, patterns) {
  const plain = text.trim();
  if (exact.has(plain)) return exact.get(plain);
  for (const [known, words] of patterns) {
    const found = known.exec(plain);
    if (found) return words.replace("{name}", () => found[1]);
  }
}

function pattern(english) {
  const parts = english.split("{name}").map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${parts.join("(.+)")}$`, "s");
}

function value(node, attribute) {
  return attribute ? node.getAttribute(attribute) : node.nodeValue;
}

function change(node, attribute, text) {
  if (attribute) node.setAttribute(attribute, text);
  else node.nodeValue = text;
}
