// What the clients of benches/client.sh are measured against: server.js; it prints its URL.
const { createServer } = require("node:http");
const { Server } = require("socket.io");

const http = createServer();
const io = new Server(http);
io.on("connection", (socket) => {
  let received = 0;
  socket.on("echo", (data, acknowledge) => acknowledge(data));
  socket.on("burst", (count) => {
    for (let number = 0; number < count; number++) socket.emit("b", "0123456789abcdef0123456789abcdef");
  });
  socket.on("in", () => received++);
  socket.on("count", (...args) => args.pop()(received));
});
http.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${http.address().port}`));
