// The JavaScript server of benches/cliffs.sh; prints its address, and then what needs no clients.
const { createServer } = require("node:http");
const { EventEmitter } = require("node:events");
const { Server } = require("socket.io");

const http = createServer();
const io = new Server(http, { maxHttpBufferSize: 1e6 });
io.on("connection", (socket) => {
  socket.on("row", (count) => {
    for (let number = 0; number < count; number++) io.emit("b", "x");
  });
  socket.on("except", (count, rooms) => {
    const names = Array.from({ length: rooms }, (_, room) => `room ${room}`);
    for (let number = 0; number < count; number++) io.except(names).emit("b", "x");
  });
});

function report(what, begun) {
  console.log(`${what.padEnd(56)} ${(performance.now() - begun).toFixed(1).padStart(8)} ms`);
}

http.listen(0, "127.0.0.1", () => {
  console.log(`127.0.0.1:${http.address().port}`);
  // What a socket keeps its handlers in.
  const handlers = new EventEmitter();
  let begun = performance.now();
  for (let number = 0; number < 10000; number++) handlers.on(`event ${number}`, () => {});
  report("10000 handlers are registered", begun);
  const adapter = io.of("/").adapter;
  const rooms = Array.from({ length: 100000 }, (_, room) => `${room}`);
  adapter.addAll("somebody", new Set(rooms));
  begun = performance.now();
  for (const room of rooms) adapter.del("somebody", room);
  report("one client leaves 100000 rooms", begun);
  console.log("");
});
