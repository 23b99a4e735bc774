// The official Engine.IO client against examples/engineio_echo: engineio_client.js URL

const assert = require("node:assert/strict");
const { Socket } = require("engine.io-client");
const { check, next, run } = require("./check.js");

const url = process.argv[2];

for (const transports of [["polling"], ["websocket"], ["polling", "websocket"]]) {
  const name = transports.join(",");
  const open = () => new Socket(url, { transports });

  check(`${name}: text and bytes come back`, async () => {
    const socket = open();
    await next(socket, "open");
    for (const message of ["hello", "é😀\u2028", "x".repeat(100_000)]) {
      const back = next(socket, "message");
      socket.send(message);
      assert.deepEqual(await back, [message]);
    }
    for (const length of [1, 125, 126, 70_000]) {
      const bytes = Buffer.alloc(length, 200);
      const back = next(socket, "message");
      socket.send(bytes);
      assert.deepEqual(Buffer.from((await back)[0]), bytes);
    }
    socket.close();
  });

  check(`${name}: the heartbeat keeps it open`, async () => {
    const socket = open();
    await next(socket, "open");
    for (let pings = 0; pings < 5; pings++) await next(socket, "ping");
    const back = next(socket, "message");
    socket.send("still here");
    assert.deepEqual(await back, ["still here"]);
    socket.close();
  });
}

run();
