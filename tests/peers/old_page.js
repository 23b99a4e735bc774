// A page with a client of an older generation in Chromium against examples/socketio_echo:
// old_page.js URL CHROMIUM [PACKAGE]
//
// PACKAGE is socket.io-client-v2 or socket.io-client-v1. The page is put in place of an answer of the server, and so is of its origin.

const assert = require("node:assert/strict");
const path = require("node:path");
const { chromium } = require("playwright-core");

const [url, executablePath, version = "socket.io-client-v2"] = process.argv.slice(2);
const bundle = path.join(path.dirname(require.resolve(`${version}/package.json`)), "dist/socket.io.js");

const ARGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

// Runs in the page. Bytes leave it as arrays.
const talk = async ({ options, last, text }) => {
  const plain = (value) => (value instanceof ArrayBuffer ? [...new Uint8Array(value)] : value);
  const next = (emitter, event) =>
    new Promise((resolve) => emitter.once(event, (...args) => resolve(args.map(plain))));
  const socket = io("/", { ...options, forceNew: true });
  const auth = next(socket, "auth");
  socket.on("error", (error) => console.error(error));
  await next(socket, "connect");
  const { engine } = socket.io;
  if (engine.transport.name !== last) await next(engine, "upgrade");

  const back = next(socket, "message-back");
  socket.emit("message", text, { [text]: [null, 1.5] });
  const result = { transport: engine.transport.name, id: socket.id === engine.id, auth: await auth, back: await back };

  const bytes = next(socket, "message-back");
  socket.emit("message", "bytes", new Uint8Array([0, 1, 2, 255]).buffer, text);
  result.bytes = await bytes;

  const acked = new Promise((resolve) => socket.emit("message-with-ack", text, 1, (...args) => resolve(args)));
  result.acked = await acked;

  socket.on("question", (question, done) => done(question, text));
  const answered = next(socket, "answered");
  socket.emit("ask", text);
  result.answered = await answered;

  const burst = new Promise((resolve) => {
    const got = [];
    socket.on("message-back", (number) => got.push(number) === 50 && resolve(got));
  });
  for (let number = 0; number < 50; number++) socket.emit("message", number);
  result.burst = await burst;

  const custom = socket.io.socket("/custom", { query: "a=b%20c" });
  result.custom = await next(custom, "auth");
  result.refused = await next(socket.io.socket("/refused"), "error");

  const gone = next(socket, "disconnect");
  socket.emit("kick");
  result.gone = await gone;
  custom.close();
  return result;
};

const MODES = {
  "default": { options: {}, last: "websocket" },
  "polling": { options: { transports: ["polling"] }, last: "polling" },
  "websocket": { options: { transports: ["websocket"] }, last: "websocket" },
  "JSONP": { options: { transports: ["polling"], forceJSONP: true }, last: "polling" },
};

(async () => {
  const browser = await chromium.launch({ executablePath, args: ARGS });
  for (const [name, mode] of Object.entries(MODES)) {
    const page = await browser.newPage();
    page.on("pageerror", (error) => { throw error; });
    let calls = 0;
    page.on("request", (request) => (calls += /[?&]j=\d/.test(request.url())));
    // A page that Playwright answers for would be a foreign one to Chromium, with no way to a local WebSocket.
    await page.goto(`${url}/socket.io/?EIO=3`);
    page.on("console", (said) => console.log(said.text()));
    await page.setContent("<!doctype html><title>old</title><body>");
    await page.addScriptTag({ path: bundle });
    // 1.x spoils what is not ASCII when it sends it by polling.
    const foreign = version === "socket.io-client-v1" && mode.last === "polling" ? "" : "é€😀\u2028";
    const text = `${foreign}a\nb \\n \\\\n " ' + & = % </script>`;
    let timer;
    const limit = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`${name} took more than 30 s`)), 30_000);
    });
    const result = await Promise.race([page.evaluate(talk, { ...mode, text }), limit]);
    clearTimeout(timer);
    assert.deepEqual(result, {
      transport: mode.last,
      id: true,
      auth: [{}],
      back: [text, { [text]: [null, 1.5] }],
      bytes: ["bytes", [0, 1, 2, 255], text],
      acked: [text, 1],
      answered: [text, text],
      burst: [...Array(50).keys()],
      custom: [{ a: "b c" }],
      refused: [{ code: 7 }],
      gone: ["io server disconnect"],
    });
    assert.equal(calls > 0, name === "JSONP");
    await page.close();
    console.log(`ok ${name}`);
  }
  await browser.close();
  console.log("an old page has talked");
})().catch((error) => {
  console.log(error.stack);
  process.exit(1);
});
