// The official client against examples/socketio_echo: socketio_client.js URL MAX_PAYLOAD

const assert = require("node:assert/strict");
const { io, Manager } = require("socket.io-client");
const { check, next, run } = require("./check.js");

const [url, maxPayload] = [process.argv[2], Number(process.argv[3])];

const TRANSPORTS = {
  polling: ["polling"],
  websocket: ["websocket"],
  upgrade: ["polling", "websocket"],
};

const connect = (namespace, options) => io(url + namespace, { forceNew: true, ...options });

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  const open = (namespace = "/", options = {}) => connect(namespace, { transports, ...options });

  check(`${name}: connects and gets its auth back`, async () => {
    const socket = open("/", { auth: { token: "123" } });
    const [[auth]] = await Promise.all([next(socket, "auth"), next(socket, "connect")]);
    assert.deepEqual(auth, { token: "123" });
    assert.equal(socket.id.length, 20);
    socket.close();
  });

  check(`${name}: without auth it is an empty object`, async () => {
    const socket = open("/custom");
    assert.deepEqual(await next(socket, "auth"), [{}]);
    socket.close();
  });

  if (name === "upgrade") {
    check("upgrade: happens, and nothing is lost or reordered on the way", async () => {
      const socket = open("/");
      const upgraded = next(socket.io.engine, "upgrade");
      await next(socket, "connect");
      const got = [];
      socket.on("message-back", (number) => got.push(number));
      for (let number = 0; number < 500; number++) {
        socket.emit("message", number);
        if (number % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
      }
      await upgraded;
      while (got.length < 500) await next(socket, "message-back");
      assert.deepEqual(got, [...Array(500).keys()]);
      assert.equal(socket.io.engine.transport.name, "websocket");
      socket.close();
    });
  }

  check(`${name}: arguments of every kind come back`, async () => {
    const socket = open("/");
    const args = [1, "2", { 3: [false, null] }, Buffer.from([4]), [[Buffer.from("five")]], "\u2028é\u0000😀", 1.5, -1e21];
    const back = next(socket, "message-back");
    socket.emit("message", ...args);
    assert.deepEqual(await back, args);
    socket.close();
  });

  check(`${name}: acknowledgements carry arguments and bytes`, async () => {
    const socket = open("/");
    const args = [{ a: [Buffer.alloc(0), Buffer.from([1, 2])] }, "x", null];
    const acked = await new Promise((resolve) =>
      socket.emit("message-with-ack", ...args, (...answer) => resolve(answer)),
    );
    assert.deepEqual(acked, args);
    assert.deepEqual(await socket.timeout(40_000).emitWithAck("message-with-ack", 7), 7);
    assert.deepEqual(await new Promise((resolve) => socket.emit("message-with-ack", (...answer) => resolve(answer))), []);
    socket.close();
  });

  check(`${name}: a burst of 500 events keeps its order`, async () => {
    const socket = open("/");
    await next(socket, "connect");
    const got = [];
    const done = new Promise((resolve) =>
      socket.on("message-back", (number) => got.push(number) === 500 && resolve()),
    );
    for (let number = 0; number < 500; number++) socket.emit("message", number, Buffer.from([number & 255]));
    await done;
    assert.deepEqual(got, [...Array(500).keys()]);
    socket.close();
  });

  check(`${name}: several namespaces share a connection`, async () => {
    const manager = new Manager(url, { transports });
    const [root, custom] = [manager.socket("/"), manager.socket("/custom")];
    await Promise.all([next(root, "connect"), next(custom, "connect")]);
    assert.notEqual(root.id, custom.id);
    const backs = [next(root, "message-back"), next(custom, "message-back")];
    root.emit("message", "root");
    custom.emit("message", "custom");
    assert.deepEqual(await Promise.all(backs), [["root"], ["custom"]]);
    custom.disconnect();
    assert.equal(await root.timeout(40_000).emitWithAck("message-with-ack", 1), 1);
    custom.connect();
    await next(custom, "connect");
    assert.equal(await custom.timeout(40_000).emitWithAck("message-with-ack", 2), 2);
    root.close();
    custom.close();
  });

  check(`${name}: another namespace does not exist`, async () => {
    const socket = open("/random");
    const [error] = await next(socket, "connect_error");
    assert.equal(error.message, "Invalid namespace");
    socket.close();
  });

  check(`${name}: messages from one byte to just over the limit`, async () => {
    for (const length of [1, 100, 126, 65_535, 65_536, maxPayload - 100]) {
      const socket = open("/");
      const text = "x".repeat(length);
      assert.equal(await socket.timeout(40_000).emitWithAck("message-with-ack", text), text);
      const bytes = Buffer.alloc(Math.floor(length / 2), 7);
      assert.deepEqual(await socket.timeout(40_000).emitWithAck("message-with-ack", bytes), bytes);
      socket.close();
    }
    const socket = open("/", { reconnection: false });
    const upgraded = name === "upgrade" && next(socket.io.engine, "upgrade");
    await next(socket, "connect");
    await upgraded;
    const gone = next(socket, "disconnect");
    socket.emit("message", "x".repeat(maxPayload));
    const [reason] = await gone;
    assert.match(reason, name === "polling" ? /transport error/ : /transport close/);
    socket.close();
  });

  check(`${name}: many clients at once`, async () => {
    const sockets = [...Array(50)].map(() => open("/"));
    const answers = sockets.map((socket, number) => socket.timeout(40_000).emitWithAck("message-with-ack", number));
    assert.deepEqual(await Promise.all(answers), [...Array(50).keys()]);
    sockets.forEach((socket) => socket.close());
  });
}

run();
