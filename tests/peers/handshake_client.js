// The official client at a server that lets in who has a key: what it sees of a refusal.
const { io } = require("socket.io-client");
const assert = require("assert");

const [url] = process.argv.slice(2);

function refusal(transport) {
  return new Promise((resolve) => {
    const socket = io(url, { transports: [transport], reconnection: false, forceNew: true });
    socket.on("connect_error", (error) => {
      socket.close();
      resolve(error);
    });
  });
}

(async () => {
  const polling = await refusal("polling");
  assert.strictEqual(polling.message, "xhr poll error");
  assert.strictEqual(polling.description, 401);
  assert.strictEqual((await refusal("websocket")).message, "websocket error");
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
  console.log("refused and let in");
})();
