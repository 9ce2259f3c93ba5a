// socket.io, broadcasting to everybody.
import { createServer } from "node:http";
import { Server } from "socket.io";
import { demanded } from "./demand.mjs";

const http = createServer();
const io = new Server(http, { transports: ["websocket"], perMessageDeflate: false });
http.listen(0, "127.0.0.1", () => console.log("ready", http.address().port));
await demanded((message) => io.emit("m", message));
