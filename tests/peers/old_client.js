// An official client of an older generation against examples/socketio_echo:
// old_client.js PACKAGE URL QUICK_URL [--reference]
//
// QUICK_URL is of a server with a heartbeat of 300 ms, which a busy machine may miss. PACKAGE is socket.io-client-v1 or socket.io-client-v2. --reference leaves out what a server in JavaScript gets wrong.

const assert = require("node:assert/strict");
const { check, next, run } = require("./check.js");

const [version, url, quickUrl, reference] = process.argv.slice(2);
const io = require(version);
const first = version === "socket.io-client-v1";

const TRANSPORTS = {
  polling: ["polling"],
  websocket: ["websocket"],
  upgrade: ["polling", "websocket"],
};

const FOREIGN = "é€😀\u2028\u0000\n\\n";

const ack = (socket, ...args) => new Promise((resolve) => socket.emit(...args, (...answer) => resolve(answer)));

const collect = (socket, event, count) =>
  new Promise((resolve) => {
    const got = [];
    socket.on(event, (value) => got.push(value) === count && resolve(got));
  });

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  const open = (namespace = "/", options = {}, server = url) =>
    io(server + namespace, { forceNew: true, transports, reconnectionDelay: 50, ...options });

  // Connected, and over the last of the transports.
  const ready = async (socket) => {
    if (!socket.connected) await next(socket, "connect");
    const { engine } = socket.io;
    if (engine.transport.name !== transports.at(-1)) await next(engine, "upgrade");
    assert.equal(engine.transport.name, transports.at(-1));
    return socket;
  };

  // 1.x spoils what is not ASCII when it sends it by polling.
  const text = first && name === "polling" ? "plain\u0000\n\\n" : FOREIGN;
  // And cannot read it by polling, unless the server escapes it.
  const reads = !(first && reference && name !== "websocket");

  check(`${name}: ids are those of the engine`, async () => {
    const root = open();
    const custom = root.io.socket("/custom");
    const [[auth]] = await Promise.all([next(root, "auth"), next(root, "connect"), next(custom, "connect")]);
    assert.deepEqual(auth, {});
    const { id } = root.io.engine;
    assert.equal(root.id, id);
    assert.equal(custom.id, first ? id : `/custom#${id}`);
    // The server knows the sockets by the same ids.
    const said = [next(root, "said"), next(custom, "said")];
    root.emit("room", id, "root");
    custom.emit("room", `/custom#${id}`, "custom");
    assert.deepEqual(await Promise.all(said), [["root"], ["custom"]]);
    root.close();
    custom.close();
  });

  check(`${name}: the query of a namespace is its auth`, async () => {
    const query = { token: "a b&c=d", empty: "", text: reads ? "é😀" : "plain" };
    const socket = open("/custom", { query });
    assert.deepEqual(await next(socket, "auth"), [query]);
    socket.close();
    const written = open("/custom?token=1&more=x%20y");
    assert.deepEqual(await next(written, "auth"), [{ token: "1", more: "x y" }]);
    written.close();
    const without = open("/custom");
    assert.deepEqual(await next(without, "auth"), [{}]);
    without.close();
  });

  check(`${name}: arguments of every kind come back`, async () => {
    const socket = await ready(open());
    const args = [1, "2", { 3: [false, null] }, Buffer.from([4]), [[Buffer.from("five")]], text, 1.5, -1e21, [], {}, ""];
    let back = next(socket, "message-back");
    socket.emit("message", ...args);
    assert.deepEqual(await back, args);
    back = next(socket, "message-back");
    socket.emit("message", text, undefined, { absent: undefined });
    assert.deepEqual(await back, [text, null, {}]);
    back = next(socket, "message-back");
    socket.emit("message");
    assert.deepEqual(await back, []);
    socket.close();
  });

  check(`${name}: bytes of many lengths come back`, async () => {
    const socket = await ready(open());
    for (const length of [0, 1, 2, 3, 125, 126, 1000, 70_000]) {
      const bytes = Buffer.alloc(length, 200);
      assert.deepEqual(await ack(socket, "message-with-ack", bytes), [bytes]);
    }
    const ten = [...Array(10).keys()].map((number) => Buffer.from([number]));
    assert.deepEqual(await ack(socket, "message-with-ack", ...ten), ten);
    socket.close();
  });

  check(`${name}: the server acknowledges`, async () => {
    const socket = await ready(open());
    const args = [{ a: [Buffer.alloc(0), Buffer.from([1, 2])] }, text, null];
    assert.deepEqual(await ack(socket, "message-with-ack", ...args), args);
    assert.deepEqual(await ack(socket, "message-with-ack", text), [text]);
    assert.deepEqual(await ack(socket, "message-with-ack"), []);
    assert.deepEqual(await ack(socket, "sleep", 20), []);
    socket.close();
  });

  check(`${name}: the client acknowledges`, async () => {
    const socket = await ready(open());
    for (const [question, answer] of [
      ["why?", ["because", 1, { a: null }]],
      [text, [text]],
      [Buffer.from([1, 2]), [Buffer.from([3]), { deep: [Buffer.from("x")] }]],
      [null, []],
    ]) {
      socket.once("question", (got, done) => {
        assert.deepEqual(got, question);
        done(...answer);
      });
      const answered = next(socket, "answered");
      socket.emit("ask", question);
      assert.deepEqual(await answered, answer);
    }
    socket.close();
  });

  check(`${name}: a big text and a big array of bytes`, async () => {
    const socket = await ready(open());
    const big = "0123456789".repeat(20_000) + text;
    assert.deepEqual(await ack(socket, "message-with-ack", big), [big]);
    const bytes = Buffer.alloc(200_000, 255);
    assert.deepEqual(await ack(socket, "message-with-ack", bytes, big), [bytes, big]);
    socket.close();
  });

  check(`${name}: 500 events stay in order${name === "upgrade" ? " on the way to the other transport" : ""}`, async () => {
    const socket = open();
    await next(socket, "connect");
    const back = collect(socket, "message-back", 500);
    for (let number = 0; number < 500; number++) {
      if (number % 7 === 0) socket.emit("message", number, Buffer.from([number & 255]));
      else socket.emit("message", number);
      if (number % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    assert.deepEqual(await back, [...Array(500).keys()]);
    await ready(socket);
    socket.close();
  });

  check(`${name}: two namespaces share a connection`, async () => {
    const root = open();
    const custom = root.io.socket("/custom");
    await Promise.all([ready(root), ready(custom)]);
    const backs = [next(root, "message-back"), next(custom, "message-back")];
    root.emit("message", text, Buffer.from("root"));
    custom.emit("message", text, Buffer.from("custom"));
    assert.deepEqual(await Promise.all(backs), [
      [text, Buffer.from("root")],
      [text, Buffer.from("custom")],
    ]);
    const { id } = root.io.engine;
    custom.close();
    assert.deepEqual(await ack(root, "message-with-ack", 1), [1]);
    custom.open();
    await next(custom, "connect");
    assert.deepEqual(await ack(custom, "message-with-ack", 2), [2]);
    root.close();
    assert.deepEqual(await ack(custom, "message-with-ack", 3), [3]);
    assert.equal(custom.io.engine.id, id);
    custom.close();
  });

  check(`${name}: namespaces that refuse`, async () => {
    const root = open();
    const refused = root.io.socket("/refused");
    const nope = root.io.socket("/nope");
    const [[error], [unknown]] = await Promise.all([next(refused, "error"), next(nope, "error"), next(root, "connect")]);
    assert.deepEqual(error, { code: 7 });
    // A server of the time says the bare text, socket.io 4 an object.
    assert.equal(unknown.message ?? unknown, "Invalid namespace");
    assert.ok(!refused.connected && !nope.connected);
    assert.deepEqual(await ack(root, "message-with-ack", "still here"), ["still here"]);
    [root, refused, nope].forEach((socket) => socket.close());
  });

  check(`${name}: what is said in a room`, async () => {
    const [one, two, outside] = [open(), open(), open()];
    await Promise.all([one, two, outside].map(ready));
    const room = `${version} ${name}`;
    await Promise.all([ack(one, "join", room), ack(two, "join", room)]);
    outside.on("said", () => assert.fail("was not in the room"));
    const said = [next(one, "said"), next(two, "said")];
    one.emit("room", room, text);
    assert.deepEqual(await Promise.all(said), [[text], [text]]);
    if (first && reads) {
      // What it cannot send by polling it can hear.
      const speaker = io(url, { forceNew: true, transports: ["websocket"] });
      const heard = [next(one, "said"), next(two, "said")];
      speaker.emit("room", room, FOREIGN);
      assert.deepEqual(await Promise.all(heard), [[FOREIGN], [FOREIGN]]);
      speaker.close();
    }
    assert.deepEqual(await ack(outside, "message-with-ack", 1), [1]);
    [one, two, outside].forEach((socket) => socket.close());
  });

  check(`${name}: the server disconnects a socket from its namespace`, async () => {
    const root = open();
    const custom = root.io.socket("/custom");
    await Promise.all([ready(root), ready(custom)]);
    const { id } = root.io.engine;
    let gone = next(custom, "disconnect");
    custom.emit("kick");
    assert.deepEqual(await gone, ["io server disconnect"]);
    assert.deepEqual(await ack(root, "message-with-ack", 1), [1]);
    custom.open();
    await next(custom, "connect");
    gone = next(root, "disconnect");
    root.emit("kick");
    assert.deepEqual(await gone, ["io server disconnect"]);
    assert.deepEqual(await ack(custom, "message-with-ack", 2), [2]);
    assert.equal(custom.io.engine.id, id);
    custom.close();
  });

  check(`${name}: the heartbeat keeps it open`, async () => {
    const socket = await ready(open("/", {}, quickUrl));
    const { id } = socket;
    socket.on("disconnect", (reason) => assert.fail(reason));
    // Longer than an interval and the time-out.
    for (let pongs = 0; pongs < 9; pongs++) await next(socket, "pong");
    assert.deepEqual(await ack(socket, "message-with-ack", "still here"), ["still here"]);
    assert.equal(socket.id, id);
    socket.off("disconnect");
    socket.close();
  });

  check(`${name}: connects again after its connection is gone`, async () => {
    const query = "token=123";
    const custom = open("/custom", { query });
    const root = custom.io.socket("/");
    assert.deepEqual(await next(custom, "auth"), [{ token: "123" }]);
    await ready(root);
    const { id } = root.io.engine;
    const gone = [next(root, "disconnect"), next(custom, "disconnect")];
    const again = [next(root, "reconnect"), next(root, "connect"), next(custom, "connect"), next(custom, "auth")];
    const back = next(root, "message-back");
    root.io.engine.close();
    await Promise.all(gone);
    root.emit("message", "said while it was away");
    const [, , , auth] = await Promise.all(again);
    assert.deepEqual(auth, [{ token: "123" }]);
    assert.deepEqual(await back, ["said while it was away"]);
    assert.notEqual(root.io.engine.id, id);
    assert.equal(root.id, root.io.engine.id);
    assert.deepEqual(await ack(custom, "message-with-ack", 1), [1]);
    root.close();
    custom.close();
  });
}

run();
