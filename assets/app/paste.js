// A picture from the clipboard, by the button or by Ctrl+V anywhere on the page.

export default function (component) {
  const { parentElement, data, setTriggerValue } = component;
  const button = parentElement.querySelector("button");
  const status = parentElement.querySelector("[role=status]");
  button.textContent = data.label;
  button.title = data.help;
  const say = (text) => {
    status.textContent = text;
    if (text) setTimeout(() => (status.textContent = ""), 6000);
  };
  // A value that comes while the page is being drawn again can be lost: it is sent until the page says that it has it.
  const root = (parentElement.querySelector(".kp").paste ??= { number: data.taken, tries: 0 });
  root.send = (value) => setTriggerValue("pasted", value);
  if (data.taken >= root.number) clearInterval(root.timer);
  const give = (text) => {
    clearInterval(root.timer);
    root.number = Math.max(root.number, data.taken) + 1;
    root.tries = 0;
    const value = `${root.number}:${text}`;
    root.send(value);
    root.timer = setInterval(() => (++root.tries < 6 ? root.send(value) : clearInterval(root.timer)), 2500);
  };
  const take = (blob) => {
    if (!blob) return say(data.none);
    if (blob.size > data.limit) return say(data.large);
    const reader = new FileReader();
    reader.onload = () => give(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.readAsDataURL(blob);
  };
  button.onclick = async () => {
    try {
      for (const item of await navigator.clipboard.read()) {
        const kind = item.types.find((type) => type.startsWith("image/"));
        if (kind) return take(await item.getType(kind));
      }
      take(null);
    } catch {
      say(data.denied);
    }
  };
  const pasted = (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
    if (!file) return; // text goes where the person is typing
    event.preventDefault();
    take(file);
  };
  document.addEventListener("paste", pasted);
  return () => document.removeEventListener("paste", pasted);
}
