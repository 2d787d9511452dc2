// Runs in each measured page before its own scripts: notes when messages leave and come, and waits, frame by frame,
// for something to be on screen. Times are the page's own, in milliseconds since its navigation began.
(() => {
  const LIMIT = 240_000; // of a machine that is busy with other things
  const roots = new Set();
  const attach = Element.prototype.attachShadow;
  Element.prototype.attachShadow = function (options) {
    const root = attach.call(this, options);
    roots.add(root);
    return root;
  };
  const bench = { sent: [], received: [], clicked: null, watched: {} };
  window.kdvizBench = bench;
  window.WebSocket = class extends WebSocket {
    constructor(...how) {
      super(...how);
      this.addEventListener("message", () => bench.received.push(performance.now()));
    }
    send(data) {
      bench.sent.push(performance.now());
      super.send(data);
    }
  };
  addEventListener("click", (event) => (bench.clicked = event.timeStamp), true);

  const frame = () => new Promise(requestAnimationFrame);

  // In the page and in the components, which have trees of their own.
  bench.all = (selector) => {
    const found = [...document.querySelectorAll(selector)];
    for (const root of roots) {
      if (root.host.isConnected) found.push(...root.querySelectorAll(selector));
      else roots.delete(root);
    }
    return found;
  };
  bench.find = (selector) => bench.all(selector)[0];

  // The comparison that is drawn: whose it is, and the masks of each row.
  bench.maps = () => {
    const { name, masks } = bench.find(".kv")?.dataset ?? {};
    return name === undefined ? null : { name, masks: masks.split(",").map(Number) };
  };

  // Nothing more comes from the server, and the page has its title.
  bench.quiet = () =>
    document.querySelector("h1") !== null &&
    document.querySelector("[data-testid=stApp]")?.dataset.testScriptState === "notRunning";

  bench.until = async (condition) => {
    const begun = performance.now();
    while (performance.now() - begun < LIMIT) {
      await frame();
      if (condition()) return performance.now();
    }
    return null;
  };

  // Begin to wait; ask for `watched[name]` later.
  bench.watch = (name, condition) => (bench.watched[name] = bench.until(condition));

  // When thumbnails are drawn: there, and their picture decoded.
  bench.drawn = async (selector, condition) => {
    if ((await bench.until(condition)) === null) return null;
    const sheet = new Image();
    sheet.src = getComputedStyle(bench.find(selector)).backgroundImage.slice(5, -2);
    await sheet.decode();
    await frame();
    return performance.now();
  };

  // What the main thread does for each of some events: its handlers, and the frame that shows it, layout and painting
  // included. Not the time between frames, which is the screen's.
  bench.frames = async (act, count) => {
    const channel = new MessageChannel();
    const work = [];
    for (let number = 0; number < count; number++) {
      await frame();
      let begun;
      requestAnimationFrame(() => (begun = performance.now())); // before the app's own
      const before = performance.now();
      act(number);
      const handled = performance.now() - before;
      const painted = new Promise((done) => (channel.port1.onmessage = () => done(performance.now())));
      requestAnimationFrame(() => channel.port2.postMessage(0)); // after it; comes when the frame is painted
      work.push(handled + (await painted) - begun);
    }
    return work;
  };

  // The time between frames while an event comes in each.
  bench.pace = async (act, count) => {
    const times = [];
    for (let number = 0; number < count; number++) {
      times.push(await frame());
      act(number);
    }
    return times.slice(1).map((time, at) => time - times[at]);
  };

  // Messages and requests so far.
  bench.traffic = () => bench.sent.length + bench.received.length + performance.getEntriesByType("resource").length;
})();
