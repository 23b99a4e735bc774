// The official client with the JSON parser against examples/socketio_echo: json_client.js URL

const assert = require("node:assert/strict");
const { io } = require("socket.io-client");
const parser = require("socket.io-json-parser");
const { check, next, run } = require("./check.js");

const url = process.argv[2];

const TRANSPORTS = {
  polling: ["polling"],
  websocket: ["websocket"],
  upgrade: ["polling", "websocket"],
};

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  const open = (namespace = "/", options = {}) =>
    io(url + namespace, { forceNew: true, reconnection: false, parser, transports, ...options });

  const ack = (socket, ...args) =>
    new Promise((resolve) => socket.emit("message-with-ack", ...args, (...answer) => resolve(answer)));

  check(`${name}: connects with its auth`, async () => {
    for (const [namespace, auth] of [["/", { token: "é😀" }], ["/custom", { a: [1, null] }]]) {
      const socket = open(namespace, { auth });
      const [[got]] = await Promise.all([next(socket, "auth"), next(socket, "connect")]);
      assert.deepEqual(got, auth);
      assert.equal(typeof socket.id, "string");
      socket.close();
    }
    const without = open("/custom");
    assert.deepEqual(await next(without, "auth"), [{}]);
    without.close();
  });

  check(`${name}: values of every kind come back`, async () => {
    const socket = open();
    for (const args of [
      [0, -1, 2 ** 53, 1.5, -1e21, true, false, null, "", [], {}],
      ["é€😀\u2028\u0000\n\\n\"", { "ключ 😀": "значение" }, "x".repeat(200_000)],
      [[[[[{ deep: [{ er: ["text"] }] }]]]], { _placeholder: true, num: 0 }],
      [],
    ]) {
      const back = next(socket, "message-back");
      socket.emit("message", ...args);
      assert.deepEqual(await back, args);
      assert.deepEqual(await ack(socket, ...args), args);
    }
    assert.deepEqual(await ack(socket, undefined, { absent: undefined }), [null, {}]);
    socket.close();
  });

  check(`${name}: acknowledgements both ways`, async () => {
    const socket = open();
    assert.deepEqual(await socket.timeout(40_000).emitWithAck("sleep", 20), undefined);
    for (const [question, answer] of [["why?", ["because 😀", 1, { a: null }]], [null, []]]) {
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

  check(`${name}: 500 events stay in order`, async () => {
    const socket = open();
    await next(socket, "connect");
    const got = [];
    const done = new Promise((resolve) => {
      socket.on("message-back", (number) => got.push(number) === 500 && resolve());
    });
    for (let number = 0; number < 500; number++) {
      socket.emit("message", number);
      if (number % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await done;
    assert.deepEqual(got, [...Array(500).keys()]);
    socket.close();
  });

  check(`${name}: what is said in a room`, async () => {
    const [one, two] = [open(), open()];
    const join = (socket) => socket.timeout(40_000).emitWithAck("join", `json ${name}`);
    await Promise.all([join(one), join(two)]);
    const said = [next(one, "said"), next(two, "said")];
    one.emit("room", `json ${name}`, "é😀");
    assert.deepEqual(await Promise.all(said), [["é😀"], ["é😀"]]);
    one.close();
    two.close();
  });

  check(`${name}: namespaces that refuse`, async () => {
    const root = open();
    const refused = root.io.socket("/refused");
    const nope = root.io.socket("/nope");
    const [[error], [unknown]] = await Promise.all([next(refused, "connect_error"), next(nope, "connect_error")]);
    assert.equal(error.message, "not here");
    assert.deepEqual(error.data, { code: 7 });
    assert.equal(unknown.message, "Invalid namespace");
    assert.deepEqual(await ack(root, "still here"), ["still here"]);
    [root, refused, nope].forEach((socket) => socket.close());
  });

  check(`${name}: the server disconnects a socket from its namespace`, async () => {
    const root = open();
    const custom = root.io.socket("/custom");
    await Promise.all([next(root, "connect"), next(custom, "connect")]);
    const gone = next(custom, "disconnect");
    custom.emit("kick");
    assert.equal((await gone)[0], "io server disconnect");
    assert.deepEqual(await ack(root, 1), [1]);
    custom.connect();
    await next(custom, "connect");
    assert.deepEqual(await ack(custom, 2), [2]);
    custom.disconnect();
    assert.deepEqual(await ack(root, 3), [3]);
    root.close();
  });
}

run();
