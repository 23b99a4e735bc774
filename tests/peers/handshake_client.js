// The official client at a server that lets in who has a key: what it sees of a refusal.
const { io } = require("socket.io-client");
const assert = require("assert");

const [url] = process.argv.slice(2);

function refusal(transport) {
  return new Promise((resolve) => {
    const socket = io(url, { transports: [transport], reconnection: false, forceNew: true });
    socket.on("connect_error", (error) => {
      // Closing forgets it.
      const text = error.context?.responseText;
      socket.close();
      resolve({ message: error.message, description: error.description, text });
    });
  });
}

(async () => {
  const polling = await refusal("polling");
  assert.strictEqual(polling.message, "xhr poll error");
  assert.strictEqual(polling.description, 401);
  // The answer's text is at hand on polling; a WebSocket has the status alone.
  assert.deepEqual(JSON.parse(polling.text), { code: 4, message: 'no "key"' });
  const websocket = await refusal("websocket");
  assert.strictEqual(websocket.message, "websocket error");
  assert.ok(websocket.description.message.includes("401"), websocket.description.message);
  const socket = io(url, { query: { key: "secret" }, reconnection: false });
  await new Promise((resolve, reject) => {
    socket.on("connect", resolve);
    socket.on("connect_error", reject);
  });
  await new Promise((resolve) => {
    const { engine } = socket.io;
    engine.transport.name === "websocket" ? resolve() : engine.once("upgrade", resolve);
  });
  socket.close();
  // Refused at the upgrade, it stays on polling.
  const half = io(url, { query: { key: "polling" }, reconnection: false, forceNew: true });
  const failed = new Promise((resolve) => half.io.engine.once("upgradeError", resolve));
  await new Promise((resolve) => half.on("connect", resolve));
  await failed;
  assert.strictEqual(half.io.engine.transport.name, "polling");
  assert.strictEqual(await half.timeout(40_000).emitWithAck("echo", "still here"), "still here");
  half.close();
  console.log("refused and let in");
})();
