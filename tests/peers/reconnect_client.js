// Reconnects with the official client: reconnect_client.js URL TRANSPORT
// Says "connected" each time, so that the test knows when to kill the server.

const { io } = require("socket.io-client");

const socket = io(process.argv[2], {
  transports: process.argv[3].split(","),
  reconnectionDelay: 50,
  reconnectionDelayMax: 200,
});
socket.on("connect", async () => {
  const answer = await socket.timeout(40_000).emitWithAck("message-with-ack", "still there?");
  console.log(`connected ${answer}`);
});
socket.on("disconnect", (reason) => console.log(`disconnected ${reason}`));
setTimeout(() => process.exit(1), 60_000);
