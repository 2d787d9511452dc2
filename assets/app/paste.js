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
  const take = (blob) => {
    if (!blob) return say(data.none);
    if (blob.size > data.limit) return say(data.large);
    const reader = new FileReader();
    reader.onload = () => setTriggerValue("pasted", reader.result.slice(reader.result.indexOf(",") + 1));
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
