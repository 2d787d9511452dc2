// A button that copies the address of the view. It is on every page, so that it also says the language (words.js).

export default function (component) {
  const { parentElement, data } = component;
  document.documentElement.lang = data.language; // for screen readers, and for the choice of fonts
  if (data.cookie && !document.cookie.includes(data.cookie.split(";")[0])) document.cookie = data.cookie;
  speak(data.words, data.language);
  const button = parentElement.querySelector("button");
  button.setAttribute("aria-label", data.label);
  button.title = data.label;
  const say = parentElement.querySelector("[role=status]");
  button.onclick = async () => {
    const done = await copy(location.href);
    say.textContent = done ? data.copied : location.href;
    button.classList.toggle("done", done);
    setTimeout(() => ((say.textContent = ""), button.classList.remove("done")), done ? 2000 : 15000);
  };
}

// The clipboard is open to pages from https and from this machine only; elsewhere the old way may still work.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}
