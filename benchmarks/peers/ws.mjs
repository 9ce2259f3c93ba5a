// Node's ws, broadcasting as its documents advise: a loop over the clients.
import { WebSocket, WebSocketServer } from "ws";
import { demanded } from "./demand.mjs";

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false }, () =>
  console.log("ready", server.address().port),
);
await demanded((message) => {
  for (const client of server.clients) if (client.readyState === WebSocket.OPEN) client.send(message);
});
